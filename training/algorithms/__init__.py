"""The ways to improve a policy. To add one: a file here and a row; recipes name it from then on."""

from training.algorithms.base import Algorithm
from training.algorithms.crpg import Crpg

ALGORITHMS: dict[str, Algorithm] = {algorithm.name: algorithm for algorithm in (Crpg(),)}
