"""BibTeX of the papers."""

ECCO = """@article{fiscko2023ecco,
  title  = {Towards Hyperparameter-Agnostic {DNN} Training via Dynamical System Insights},
  author = {Fiscko, Carmel and Agarwal, Aayushya and Ruan, Yihan and Kar, Soummya and Pileggi, Larry and Sinopoli, Bruno},
  year   = {2023},
  note   = {Preprint, October 24, 2023}
}
"""

ECDSEP = """@article{deluca2023ecdsep,
  title  = {Improving Energy Conserving Descent for Machine Learning: Theory and Practice},
  author = {De Luca, G. Bruno and Gatti, Alice and Silverstein, Eva},
  year   = {2023},
  note   = {Preprint}
}
"""

BBI = """@inproceedings{deluca2022bbi,
  title     = {{Born-Infeld} ({BI}) for {AI}: Energy-Conserving Descent ({ECD}) for Optimization},
  author    = {De Luca, Giuseppe Bruno and Silverstein, Eva},
  booktitle = {Proceedings of the 39th International Conference on Machine Learning},
  year      = {2022}
}
"""

ELRA = """@unpublished{elra,
  title  = {A Gradient Descent Optimizer with Auto-Controlled Large Learning Rates, Dynamic Batch Sizes and without Momentum},
  author = {{Anonymous authors}},
  note   = {Paper under double-blind review}
}
"""

TLR = """@inproceedings{retsinas2023tlr,
  title  = {Newton-Based Trainable Learning Rate},
  author = {Retsinas, George and Sfikas, Giorgos and Filntisis, Panagiotis Paraskevas and Maragos, Petros},
  booktitle = {IEEE International Conference on Acoustics, Speech and Signal Processing (ICASSP)},
  year   = {2023}
}
"""

CAUCHY = """@article{cauchy1847,
  title   = {M{\\'e}thode g{\\'e}n{\\'e}rale pour la r{\\'e}solution des syst{\\`e}mes d'{\\'e}quations simultan{\\'e}es},
  author  = {Cauchy, Augustin-Louis},
  journal = {Comptes rendus de l'Acad{\\'e}mie des sciences},
  volume  = {25},
  pages   = {536--538},
  year    = {1847}
}
"""

POLYAK_1964 = """@article{polyak1964,
  title   = {Some methods of speeding up the convergence of iteration methods},
  author  = {Polyak, Boris T.},
  journal = {USSR Computational Mathematics and Mathematical Physics},
  volume  = {4},
  number  = {5},
  pages   = {1--17},
  year    = {1964}
}
"""

POLYAK_1969 = """@article{polyak1969,
  title   = {Minimization of unsmooth functionals},
  author  = {Polyak, Boris T.},
  journal = {USSR Computational Mathematics and Mathematical Physics},
  volume  = {9},
  number  = {3},
  pages   = {14--29},
  year    = {1969}
}
"""

NESTEROV = """@article{su2016,
  title   = {A Differential Equation for Modeling {N}esterov's Accelerated Gradient Method: Theory and Insights},
  author  = {Su, Weijie and Boyd, Stephen and Cand{\\`e}s, Emmanuel J.},
  journal = {Journal of Machine Learning Research},
  volume  = {17},
  number  = {153},
  pages   = {1--43},
  year    = {2016}
}
"""

MALITSKY_MISHCHENKO = """@inproceedings{malitsky2020,
  title     = {Adaptive Gradient Descent without Descent},
  author    = {Malitsky, Yura and Mishchenko, Konstantin},
  booktitle = {Proceedings of the 37th International Conference on Machine Learning},
  year      = {2020}
}
"""

HYPERGRADIENT = """@inproceedings{baydin2018,
  title     = {Online Learning Rate Adaptation with Hypergradient Descent},
  author    = {Baydin, At{\\i}l{\\i}m G{\\"u}ne{\\c{s}} and Cornish, Robert and Mart{\\'i}nez Rubio, David and Schmidt, Mark and Wood, Frank},
  booktitle = {International Conference on Learning Representations},
  year      = {2018}
}
"""

ARMIJO = """@article{armijo1966,
  title   = {Minimization of functions having {L}ipschitz continuous first partial derivatives},
  author  = {Armijo, Larry},
  journal = {Pacific Journal of Mathematics},
  volume  = {16},
  number  = {1},
  pages   = {1--3},
  year    = {1966}
}
"""

BARZILAI_BORWEIN = """@article{barzilai1988,
  title   = {Two-Point Step Size Gradient Methods},
  author  = {Barzilai, Jonathan and Borwein, Jonathan M.},
  journal = {IMA Journal of Numerical Analysis},
  volume  = {8},
  number  = {1},
  pages   = {141--148},
  year    = {1988}
}
"""

DORMAND_PRINCE = """@article{dormand1980,
  title   = {A family of embedded {R}unge-{K}utta formulae},
  author  = {Dormand, John R. and Prince, Peter J.},
  journal = {Journal of Computational and Applied Mathematics},
  volume  = {6},
  number  = {1},
  pages   = {19--26},
  year    = {1980}
}
"""

ROCKAFELLAR = """@article{rockafellar1976,
  title   = {Monotone Operators and the Proximal Point Algorithm},
  author  = {Rockafellar, R. Tyrrell},
  journal = {SIAM Journal on Control and Optimization},
  volume  = {14},
  number  = {5},
  pages   = {877--898},
  year    = {1976}
}
"""

BRANIN = """@article{branin1972,
  title   = {Widely Convergent Method for Finding Multiple Solutions of Simultaneous Nonlinear Equations},
  author  = {Branin, Franklin H.},
  journal = {IBM Journal of Research and Development},
  volume  = {16},
  number  = {5},
  pages   = {504--522},
  year    = {1972}
}
"""

SPS = """@inproceedings{loizou2021,
  title     = {Stochastic {P}olyak Step-size for {SGD}: An Adaptive Learning Rate for Fast Convergence},
  author    = {Loizou, Nicolas and Vaswani, Sharan and Laradji, Issam Hadj and Lacoste-Julien, Simon},
  booktitle = {Proceedings of the 24th International Conference on Artificial Intelligence and Statistics},
  pages     = {1306--1314},
  year      = {2021}
}
"""

SLS = """@inproceedings{vaswani2019,
  title     = {Painless Stochastic Gradient: Interpolation, Line-Search, and Convergence Rates},
  author    = {Vaswani, Sharan and Mishkin, Aaron and Laradji, Issam and Schmidt, Mark and Gidel, Gauthier and Lacoste-Julien, Simon},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {32},
  year      = {2019}
}
"""

STEP_DECAY = """@inproceedings{ge2019,
  title     = {The Step Decay Schedule: A Near Optimal, Geometrically Decaying Learning Rate Procedure for Least Squares},
  author    = {Ge, Rong and Kakade, Sham M. and Kidambi, Rahul and Netrapalli, Praneeth},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {32},
  year      = {2019}
}
"""

ADAGRAD = """@article{duchi2011adaptive,
  title   = {Adaptive Subgradient Methods for Online Learning and Stochastic Optimization},
  author  = {Duchi, John and Hazan, Elad and Singer, Yoram},
  journal = {Journal of Machine Learning Research},
  volume  = {12},
  pages   = {2121--2159},
  year    = {2011}
}
"""

RMSPROP = """@misc{tieleman2012rmsprop,
  title  = {Lecture 6.5: {RMSprop}, Divide the Gradient by a Running Average of its Recent Magnitude},
  author = {Tieleman, Tijmen and Hinton, Geoffrey},
  note   = {Coursera: Neural Networks for Machine Learning},
  year   = {2012}
}
"""

ADAM = """@inproceedings{kingma2015adam,
  title     = {Adam: A Method for Stochastic Optimization},
  author    = {Kingma, Diederik P. and Ba, Jimmy},
  booktitle = {International Conference on Learning Representations},
  year      = {2015}
}
"""

ADAMW = """@inproceedings{loshchilov2019decoupled,
  title     = {Decoupled Weight Decay Regularization},
  author    = {Loshchilov, Ilya and Hutter, Frank},
  booktitle = {International Conference on Learning Representations},
  year      = {2019}
}
"""

AMSGRAD = """@inproceedings{reddi2018convergence,
  title     = {On the Convergence of {Adam} and Beyond},
  author    = {Reddi, Sashank J. and Kale, Satyen and Kumar, Sanjiv},
  booktitle = {International Conference on Learning Representations},
  year      = {2018}
}
"""

DIFFGRAD = """@article{dubey2020diffgrad,
  title   = {{diffGrad}: An Optimization Method for Convolutional Neural Networks},
  author  = {Dubey, Shiv Ram and Chakraborty, Soumendu and Roy, Swalpa Kumar and Mukherjee, Snehasis and
             Singh, Satish Kumar and Chaudhuri, Bidyut Baran},
  journal = {IEEE Transactions on Neural Networks and Learning Systems},
  volume  = {31},
  number  = {11},
  pages   = {4500--4511},
  year    = {2020}
}
"""

ADAMOD = """@misc{ding2019adamod,
  title         = {An Adaptive and Momental Bound Method for Stochastic Learning},
  author        = {Ding, Jianbang and Ren, Xuancheng and Luo, Ruixuan and Sun, Xu},
  year          = {2019},
  eprint        = {1910.12249},
  archiveprefix = {arXiv}
}
"""

ADABELIEF = """@inproceedings{zhuang2020adabelief,
  title     = {{AdaBelief} Optimizer: Adapting Stepsizes by the Belief in Observed Gradients},
  author    = {Zhuang, Juntang and Tang, Tommy and Ding, Yifan and Tatikonda, Sekhar and Dvornek, Nicha and
               Papademetris, Xenophon and Duncan, James},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {33},
  year      = {2020}
}
"""

MADGRAD = """@article{defazio2022momentumized,
  title   = {A Momentumized, Adaptive, Dual Averaged Gradient Method},
  author  = {Defazio, Aaron and Jelassi, Samy},
  journal = {Journal of Machine Learning Research},
  volume  = {23},
  number  = {144},
  pages   = {1--34},
  year    = {2022}
}
"""

EADAM = """@misc{yuan2020eadam,
  title         = {{EAdam} Optimizer: How Epsilon Impact {Adam}},
  author        = {Yuan, Wei and Gao, Kai-Xin},
  year          = {2020},
  eprint        = {2011.02150},
  archiveprefix = {arXiv}
}
"""

ADAMOMENTUM = """@misc{wang2021adamomentum,
  title         = {Rethinking {Adam}: A Twofold Exponential Moving Average Approach},
  author        = {Wang, Yizhou and Kang, Yue and Qin, Can and Wang, Huan and Xu, Yi and Zhang, Yulun and Fu, Yun},
  year          = {2021},
  eprint        = {2106.11514},
  archiveprefix = {arXiv}
}
"""

EPSILON = """@misc{silva2023epsilon,
  title  = {Optimal Hyperparameter $\\epsilon$ for Adaptive Stochastic Optimizers through Gradient Histograms},
  author = {Silva, Gustavo and Rodriguez, Paul},
  year   = {2023},
  note   = {Preprint}
}
"""
