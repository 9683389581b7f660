"""What everything else is built of: records, rows, random numbers, parts, their registry, and the kernel."""
