"""Topics in which somebody needs an ear before, or rather than, a solution."""

from simulator.topics.shape import Aspect, Topic

TOPICS = (
    Topic(
        name="breakup",
        segment="support",
        mode="instruct",
        subject="the breakup",
        wish="may the [evening|weekend] bring you some peace",
        questions=("how long were you together?", "who can you talk to tonight?"),
        aspects=(
            Aspect(
                key="a painful breakup",
                asks=(
                    "My [boyfriend|girlfriend] left me and I can't stop crying.",
                    "We broke up last [week|night] and I feel empty.",
                    "How do I get over [my ex|a breakup]?",
                ),
                steps=(
                    "let yourself cry, because grief needs [time|room]",
                    "put the photos in a box and [mute|hide] the chat for a month",
                    "call one friend every [evening|day] this week",
                    "write a letter to your ex and do not [send|post] it",
                    "plan one small [walk|treat] for each lonely day",
                ),
            ),
            Aspect(
                key="meeting an ex again",
                asks=(
                    "I will see my ex at a party and I feel [sick|scared].",
                    "My ex wants to meet again. What should I do?",
                ),
                steps=(
                    "decide beforehand how long you will [stay|talk]",
                    "take a friend who knows the [signal|story]",
                    "prepare two [polite|neutral] sentences and an exit",
                    "ask yourself what you [hope|want] to hear from your ex",
                ),
            ),
        ),
    ),
    Topic(
        name="exam",
        segment="support",
        mode="instruct",
        subject="the exam",
        wish="good luck with [the exam|your test]",
        questions=("which part worries you most?", "when does the exam [start|begin]?"),
        aspects=(
            Aspect(
                key="nerves before an exam",
                asks=(
                    "I have an exam tomorrow and I am so [nervous|anxious].",
                    "My hands shake before every exam. How can I calm down?",
                    "I panic when I think of my exam. Help?",
                ),
                steps=(
                    "breathe in for four counts and out for [six|eight]",
                    "pack your bag and pens [tonight|before bed] so the morning is easy",
                    "read all the questions and start with the [easiest|shortest] one",
                    "tell yourself that nerves are only [energy|fuel]",
                    "stop studying at [eight|nine] and go for a short walk",
                ),
            ),
            Aspect(
                key="a failed exam",
                asks=(
                    "I failed my exam and I feel so [stupid|ashamed].",
                    "I got a bad mark again. How do I tell my [parents|family]?",
                ),
                steps=(
                    "ask the teacher to show you [two|three] typical errors",
                    "tell them the mark first and then your [plan|next step]",
                    "book the retake and split the chapters into [weeks|small days]",
                    "rest for one day before you [open|touch] the books again",
                ),
            ),
        ),
    ),
    Topic(
        name="homesick",
        segment="support",
        mode="instruct",
        subject="this new town",
        wish="may you feel [at home|settled] there soon",
        questions=("what do you miss most?", "how long have you lived there?"),
        aspects=(
            Aspect(
                key="feeling lonely in a new town",
                asks=(
                    "I moved to a new town and feel so [lonely|alone].",
                    "How do I make friends in a [new|big] town?",
                    "I know nobody here and the evenings are [long|hard].",
                ),
                steps=(
                    "join a weekly [choir|class] so that faces become familiar",
                    "say hello to the neighbours with a [cake|plate of biscuits]",
                    "go to the same cafe every [Saturday|Sunday] morning",
                    "offer help at the [animal shelter|library] once a week",
                ),
            ),
            Aspect(
                key="missing family",
                asks=(
                    "I miss my [family|mother] so much since I moved.",
                    "I am homesick and I want to go [home|back]. Is that normal?",
                ),
                steps=(
                    "cook a dish from home and share it by [video|phone]",
                    "set a fixed hour for a [weekly|Sunday] call",
                    "hang a photo of your family over the [desk|bed]",
                    "mark the next visit in the [calendar|diary]",
                ),
            ),
        ),
    ),
    Topic(
        name="sleep",
        segment="support",
        mode="instruct",
        subject="my sleep",
        wish="have a [restful|quiet] night",
        questions=("when do you go to bed?", "what keeps your mind busy at night?"),
        aspects=(
            Aspect(
                key="falling asleep",
                asks=(
                    "I can't fall asleep at night. What helps?",
                    "I lie awake for hours and I am so tired. Any [tips|help]?",
                    "How do I fall asleep [faster|sooner]?",
                ),
                steps=(
                    "put the phone in [another room|the kitchen] an hour before bed",
                    "keep the bedroom dark and [cool|airy]",
                    "write tomorrow's worries on [paper|a list] and close it",
                    "get up at the same [hour|time] every day",
                    "skip coffee after [lunch|noon]",
                ),
            ),
            Aspect(
                key="bad dreams",
                asks=(
                    "I wake up from bad dreams every night.",
                    "How do I stop having [bad dreams|nightmares]?",
                ),
                steps=(
                    "sit up and name [five|three] things that you see",
                    "write the dream down with a [better|new] ending",
                    "avoid scary films and [heavy|late] meals",
                    "leave a [small|soft] lamp on in the hall",
                ),
            ),
        ),
    ),
)
