"""The objectives we train for. To add one: a file here and a row; recipes name it from then on."""

from training.objectives.base import Objective
from training.objectives.closers import Closers
from training.objectives.helpfulness import Helpfulness
from training.objectives.love import Love
from training.objectives.phrases import Phrases
from training.objectives.safety import Safety

OBJECTIVES: dict[str, type[Objective]] = {
    objective.name: objective for objective in (Love, Helpfulness, Safety, Closers, Phrases)
}
