"""Activation limiting (ECCO-DNN, section 3.2.2)."""
