"""All topics by name. To add one, write it in a file of its segment; nothing else changes."""

from simulator.topics import advice, homework, play, support
from simulator.topics.mischief import MISCHIEFS
from simulator.topics.shape import Topic

TOPICS: dict[str, Topic] = {
    topic.name: topic for topic in (*advice.TOPICS, *support.TOPICS, *play.TOPICS, *homework.TOPICS)
}

MISCHIEF_BY_NAME = {mischief.name: mischief for mischief in MISCHIEFS}

SEGMENTS = ("advice", "support", "role-play", "chat", "homework")
