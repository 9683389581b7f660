"""Adam and its kin, as published and with the parameters of the epsilon paper."""

from __future__ import annotations

from typing import Annotated, Literal

from flowopt.controllers.fixed import Fixed
from flowopt.core.method import Method
from flowopt.core.roles import L2, Average, Denominator, GradientAverage, LearningRate, SquareAverage, WeightDecay
from flowopt.core.state import Number
from flowopt.integrators.symplectic import SymplecticEuler
from flowopt.methods._naming import named
from flowopt.systems.adabelief import AdaBelief
from flowopt.systems.adagrad import AdaGrad
from flowopt.systems.adam import Adam
from flowopt.systems.adamod import AdaMod
from flowopt.systems.adamomentum import AdaMomentum
from flowopt.systems.adaptive_flow import AdaptiveFlow
from flowopt.systems.amsgrad import AMSGrad
from flowopt.systems.diffgrad import DiffGrad
from flowopt.systems.eadam import EAdam
from flowopt.systems.madgrad import MADGRAD
from flowopt.systems.rmsprop import RMSprop
from flowopt.transforms.decoupled_decay import DecoupledDecay

_HISTOGRAMS = "as in Table 5 of the epsilon paper"


def _published(system: AdaptiveFlow) -> Method:
    """The update as published: a step of symplectic Euler as long as the system's own."""
    return Method(system, SymplecticEuler(), Fixed(system.step))


ADAGRAD = """@article{duchi2011adaptive,
  title   = {Adaptive Subgradient Methods for Online Learning and Stochastic Optimization},
  author  = {Duchi, John and Hazan, Elad and Singer, Yoram},
  journal = {Journal of Machine Learning Research},
  volume  = {12},
  pages   = {2121--2159},
  year    = {2011}
}
"""


@named("AdaGrad", ADAGRAD)
def adagrad(
    lr: Annotated[Number, LearningRate(1e-5, 10.0)] = 1e-2, eps: Denominator = 1e-10, weight_decay: L2 = 0.0
) -> Method:
    """AdaGrad, which is torch.optim.Adagrad: the gradient over the root of the sum of all squared gradients."""
    return _published(AdaGrad(step=lr, eps=eps, weight_decay=weight_decay))


RMSPROP = """@misc{tieleman2012rmsprop,
  title  = {Lecture 6.5: {RMSprop}, Divide the Gradient by a Running Average of its Recent Magnitude},
  author = {Tieleman, Tijmen and Hinton, Geoffrey},
  note   = {Coursera: Neural Networks for Machine Learning},
  year   = {2012}
}
"""


@named("RMSprop", RMSPROP)
def rmsprop(
    lr: Annotated[Number, LearningRate(1e-5, 10.0)] = 1e-2,
    beta2: SquareAverage = 0.99,
    eps: Denominator = 1e-8,
    weight_decay: L2 = 0.0,
) -> Method:
    """RMSprop, which is torch.optim.RMSprop(alpha=beta2): the gradient over the root of the mean squared gradient."""
    return _published(RMSprop(step=lr, beta2=beta2, eps=eps, weight_decay=weight_decay))


ADAM = """@inproceedings{kingma2015adam,
  title     = {Adam: A Method for Stochastic Optimization},
  author    = {Kingma, Diederik P. and Ba, Jimmy},
  booktitle = {International Conference on Learning Representations},
  year      = {2015}
}
"""


@named("Adam", ADAM)
def adam(
    lr: Annotated[Number, LearningRate(1e-5, 10.0)] = 1e-3,
    beta1: GradientAverage = 0.9,
    beta2: SquareAverage = 0.999,
    eps: Denominator = 1e-8,
    weight_decay: L2 = 0.0,
) -> Method:
    """Adam, which is torch.optim.Adam: the mean gradient over the root of the mean squared gradient."""
    return _published(Adam(step=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay))


ADAMW = """@inproceedings{loshchilov2019decoupled,
  title     = {Decoupled Weight Decay Regularization},
  author    = {Loshchilov, Ilya and Hutter, Frank},
  booktitle = {International Conference on Learning Representations},
  year      = {2019}
}
"""


@named("AdamW", ADAMW, "the decay of a step is lr weight_decay, as in torch.optim.AdamW")
def adamw(
    lr: Annotated[Number, LearningRate(1e-5, 10.0)] = 1e-3,
    beta1: GradientAverage = 0.9,
    beta2: SquareAverage = 0.999,
    eps: Denominator = 1e-8,
    weight_decay: Annotated[Number, WeightDecay(1e-4, 1.0, decoupled=True)] = 1e-2,
) -> Method:
    """AdamW, which is torch.optim.AdamW: Adam with a weight decay that the gradients know nothing of."""
    system = Adam(step=lr, beta1=beta1, beta2=beta2, eps=eps)
    return Method(system, SymplecticEuler(), Fixed(lr), (DecoupledDecay(weight_decay),))


AMSGRAD = """@inproceedings{reddi2018convergence,
  title     = {On the Convergence of {Adam} and Beyond},
  author    = {Reddi, Sashank J. and Kale, Satyen and Kumar, Sanjiv},
  booktitle = {International Conference on Learning Representations},
  year      = {2018}
}
"""


@named("AMSGrad", AMSGRAD, "with the bias corrections of Adam, as in torch (the paper has none)")
def amsgrad(
    lr: Annotated[Number, LearningRate(1e-5, 10.0)] = 1e-3,
    beta1: GradientAverage = 0.9,
    beta2: SquareAverage = 0.999,
    eps: Denominator = 1e-8,
    weight_decay: L2 = 0.0,
) -> Method:
    """AMSGrad, which is torch.optim.Adam(amsgrad=True): Adam whose mean squared gradient never falls."""
    return _published(AMSGrad(step=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay))


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


@named("DiffGrad", DIFFGRAD, 'form="paper": eps beside the corrected root (the authors\' code: uncorrected)')
def diffgrad(
    lr: Annotated[Number, LearningRate(1e-5, 10.0)] = 1e-3,
    beta1: GradientAverage = 0.9,
    beta2: SquareAverage = 0.999,
    eps: Denominator = 1e-8,
    weight_decay: L2 = 0.0,
    form: Literal["paper", "library"] = "paper",
) -> Method:
    """DiffGrad: Adam that is slowed down to half where the gradient hardly changes."""
    return _published(DiffGrad(step=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, form=form))


ADAMOD = """@misc{ding2019adamod,
  title         = {An Adaptive and Momental Bound Method for Stochastic Learning},
  author        = {Ding, Jianbang and Ren, Xuancheng and Luo, Ruixuan and Sun, Xu},
  year          = {2019},
  eprint        = {1910.12249},
  archiveprefix = {arXiv}
}
"""


@named(
    "AdaMod",
    ADAMOD,
    'form="paper": the rates that are bounded are lr / (sqrt(v^) + eps) (the authors\' code puts the correction of m '
    "among them, and eps beside the uncorrected root)",
)
def adamod(
    lr: Annotated[Number, LearningRate(1e-5, 10.0)] = 1e-3,
    beta1: GradientAverage = 0.9,
    beta2: SquareAverage = 0.999,
    beta3: Annotated[Number, Average(0.9, 0.99999)] = 0.9999,
    eps: Denominator = 1e-8,
    weight_decay: L2 = 0.0,
    form: Literal["paper", "library"] = "paper",
) -> Method:
    """AdaMod: Adam whose learning rates do not exceed their own average."""
    system = AdaMod(step=lr, beta1=beta1, beta2=beta2, beta3=beta3, eps=eps, weight_decay=weight_decay, form=form)
    return _published(system)


ADABELIEF = """@inproceedings{zhuang2020adabelief,
  title     = {{AdaBelief} Optimizer: Adapting Stepsizes by the Belief in Observed Gradients},
  author    = {Zhuang, Juntang and Tang, Tommy and Ding, Yifan and Tatikonda, Sekhar and Dvornek, Nicha and
               Papademetris, Xenophon and Duncan, James},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {33},
  year      = {2020}
}
"""


EPSILON = """@misc{silva2023epsilon,
  title  = {Optimal Hyperparameter $\\epsilon$ for Adaptive Stochastic Optimizers through Gradient Histograms},
  author = {Silva, Gustavo and Rodriguez, Paul},
  year   = {2023},
  note   = {Preprint}
}
"""


@named("AdaBelief", ADABELIEF + EPSILON, _HISTOGRAMS)
def adabelief(
    lr: Annotated[Number, LearningRate(1e-5, 10.0)] = 1e-3,
    beta1: GradientAverage = 0.9,
    beta2: SquareAverage = 0.999,
    eps: Denominator = 1e-16,
    weight_decay: L2 = 0.0,
) -> Method:
    """AdaBelief: Adam that divides by how far the gradient is from its mean."""
    return _published(AdaBelief(step=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay))


DEFAZIO = """@article{defazio2022momentumized,
  title   = {A Momentumized, Adaptive, Dual Averaged Gradient Method},
  author  = {Defazio, Aaron and Jelassi, Samy},
  journal = {Journal of Machine Learning Research},
  volume  = {23},
  number  = {144},
  pages   = {1--34},
  year    = {2022}
}
"""


@named("MADGRAD", DEFAZIO, "Algorithm 1, with lr where the authors' code has lr + eps")
def madgrad(
    lr: Annotated[Number, LearningRate(1e-5, 10.0)] = 1e-2,
    beta1: GradientAverage = 0.9,
    eps: Denominator = 1e-6,
    weight_decay: L2 = 0.0,
    dual_averaging: bool = True,
) -> Method:
    """MADGRAD: dual averaging with momentum, the gradients' sum over the cube root of the sum of their squares."""
    return _published(MADGRAD(step=lr, beta1=beta1, eps=eps, weight_decay=weight_decay, dual_averaging=dual_averaging))


EADAM = """@misc{yuan2020eadam,
  title         = {{EAdam} Optimizer: How Epsilon Impact {Adam}},
  author        = {Yuan, Wei and Gao, Kai-Xin},
  year          = {2020},
  eprint        = {2011.02150},
  archiveprefix = {arXiv}
}
"""


@named("EAdam", EADAM + EPSILON, _HISTOGRAMS)
def eadam(
    lr: Annotated[Number, LearningRate(1e-5, 10.0)] = 1e-3,
    beta1: GradientAverage = 0.9,
    beta2: SquareAverage = 0.999,
    eps: Denominator = 1e-8,
    weight_decay: L2 = 0.0,
) -> Method:
    """EAdam: Adam with eps added to the mean squared gradient in every step."""
    return _published(EAdam(step=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay))


ADAMOMENTUM = """@misc{wang2021adamomentum,
  title         = {Rethinking {Adam}: A Twofold Exponential Moving Average Approach},
  author        = {Wang, Yizhou and Kang, Yue and Qin, Can and Wang, Huan and Xu, Yi and Zhang, Yulun and Fu, Yun},
  year          = {2021},
  eprint        = {2106.11514},
  archiveprefix = {arXiv}
}
"""


@named("AdaMomentum", ADAMOMENTUM + EPSILON, _HISTOGRAMS)
def adamomentum(
    lr: Annotated[Number, LearningRate(1e-5, 10.0)] = 1e-3,
    beta1: GradientAverage = 0.9,
    beta2: SquareAverage = 0.999,
    eps: Denominator = 1e-16,
    weight_decay: L2 = 0.0,
) -> Method:
    """AdaMomentum: EAdam that squares the mean gradient in place of the gradient."""
    return _published(AdaMomentum(step=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay))
