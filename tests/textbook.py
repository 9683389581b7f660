"""The library's functions once more, one point at a time, as the textbooks print them."""

import math
from math import cos, e, exp, pi, sin, sqrt

import numpy as np


def rosenbrock(x):
    return sum(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(len(x) - 1))


def ackley(x, coefficient=0.2, regularised=False):
    f = -20 * exp(-coefficient * sqrt(np.mean(x**2))) - exp(np.mean(np.cos(2 * pi * x))) + 20 + e
    return f + 1e-8 * sum(x**2) ** 4 if regularised else f


def zakharov(x):
    tilt = sum(0.5 * (i + 1) * x[i] for i in range(len(x)))
    return sum(x**2) + tilt**2 + tilt**4


def bowl(x, coefficients=(3, 24)):
    return sum(c * xi**2 for c, xi in zip(coefficients, x, strict=True))


def saddle(x, angle=0.0):
    u = cos(angle) * x[0] + sin(angle) * x[1]
    v = -sin(angle) * x[0] + cos(angle) * x[1]
    return u**2 - v**2


def quadratic(x, condition=100.0, spectrum=None):
    if spectrum is None:
        spectrum = [condition ** (i / (len(x) - 1)) for i in range(len(x))]
    return sum(eigenvalue * xi**2 / 2 for eigenvalue, xi in zip(spectrum, x, strict=True))


def beale(x):
    a, b = x
    return (1.5 - a + a * b) ** 2 + (2.25 - a + a * b**2) ** 2 + (2.625 - a + a * b**3) ** 2


def booth(x):
    return (x[0] + 2 * x[1] - 7) ** 2 + (2 * x[0] + x[1] - 5) ** 2


def matyas(x):
    return 0.26 * (x[0] ** 2 + x[1] ** 2) - 0.48 * x[0] * x[1]


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


def rastrigin(x):
    return 10 * len(x) + sum(x**2 - 10 * np.cos(2 * pi * x))


def griewank(x):
    return sum(x**2) / 4000 - math.prod(cos(x[i] / sqrt(i + 1)) for i in range(len(x))) + 1


def levy(x):
    w = 1 + (x - 1) / 4
    f = sin(pi * w[0]) ** 2 + (w[-1] - 1) ** 2 * (1 + sin(2 * pi * w[-1]) ** 2)
    return f + sum((w[i] - 1) ** 2 * (1 + 10 * sin(pi * w[i] + 1) ** 2) for i in range(len(x) - 1))


def styblinski_tang(x):
    return sum(x**4 - 16 * x**2 + 5 * x) / 2


def dixon_price(x):
    return (x[0] - 1) ** 2 + sum((i + 1) * (2 * x[i] ** 2 - x[i - 1]) ** 2 for i in range(1, len(x)))


def michalewicz(x):
    return -sum(sin(x[i]) * sin((i + 1) * x[i] ** 2 / pi) ** 20 for i in range(len(x)))


def three_hump_camel(x):
    return 2 * x[0] ** 2 - 1.05 * x[0] ** 4 + x[0] ** 6 / 6 + x[0] * x[1] + x[1] ** 2


def goldstein_price(x):
    a, b = x
    first = 1 + (a + b + 1) ** 2 * (19 - 14 * a + 3 * a**2 - 14 * b + 6 * a * b + 3 * b**2)
    return first * (30 + (2 * a - 3 * b) ** 2 * (18 - 32 * a + 12 * a**2 + 48 * b - 36 * a * b + 27 * b**2))


def easom(x):
    return -cos(x[0]) * cos(x[1]) * exp(-((x[0] - pi) ** 2) - (x[1] - pi) ** 2)
