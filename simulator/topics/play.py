"""Topics of role-play and of casual chat: answers go on with the story or the talk."""

from simulator.topics.shape import Aspect, Topic

TOPICS = (
    Topic(
        name="knight",
        segment="role-play",
        mode="tell",
        subject="the castle",
        wish="may your [sword stay sharp|quest go on]",
        questions=("do you [enter|knock]?", "what do you hold in your hand?"),
        aspects=(
            Aspect(
                key="the haunted gate",
                asks=(
                    "Let's play: I am a knight at a haunted [gate|castle].",
                    "I draw my sword and walk to the castle gate.",
                    "You are the guard of the haunted gate. I [knock|ride up].",
                ),
                steps=(
                    "the gate groans open and cold [mist|fog] rolls over your boots",
                    "a guard with an empty helmet lifts his [torch|spear]",
                    "somewhere above you a bell rings [twice|three times]",
                    "a voice from the stone asks for your [name|oath], knight",
                    "your horse stops and will not cross the [bridge|shadow]",
                ),
            ),
            Aspect(
                key="the dragon in the cellar",
                asks=(
                    "I go down to the dragon in the cellar.",
                    "Let's play: I [meet|wake] a dragon under the castle.",
                ),
                steps=(
                    "the dragon opens one golden eye and [yawns|smiles]",
                    "coins slide under your feet like [sand|rain]",
                    "hot breath puts out your [torch|lamp]",
                    "the dragon offers you a riddle for your [life|sword]",
                ),
            ),
        ),
    ),
    Topic(
        name="starship",
        segment="role-play",
        mode="tell",
        subject="the ship",
        wish="safe [travels|flight], captain",
        questions=("what is your [order|command]?", "do we answer the signal?"),
        aspects=(
            Aspect(
                key="a strange signal in space",
                asks=(
                    "Let's play: I am the captain and we get a strange signal.",
                    "You are the ship's computer. Report the signal, please.",
                    "Captain here. What is that signal from the [moon|planet]?",
                ),
                steps=(
                    "the signal repeats your own name every nine [seconds|minutes]",
                    "the screen shows a dark ship without [engines|lights]",
                    "our antenna turns towards the third [moon|planet] alone",
                    "the pilot has gone pale and points at the [radar|map]",
                ),
            ),
            Aspect(
                key="a broken engine",
                asks=(
                    "The engine is [dead|broken]. What does the crew do?",
                    "Let's play: our engine breaks down near the sun.",
                ),
                steps=(
                    "sparks rain from the engine room and the lights turn [red|blue]",
                    "the mechanic crawls into the shaft with a [wrench|welding torch]",
                    "the hull begins to sing in the [heat|storm]",
                    "we have fuel for one [jump|burn], captain, and no more",
                ),
            ),
        ),
    ),
    Topic(
        name="weekend",
        segment="chat",
        mode="tell",
        subject="the weekend",
        wish="have a [lovely|sunny] weekend",
        questions=("where will you go?", "who comes with you?"),
        aspects=(
            Aspect(
                key="a walk in the hills",
                asks=(
                    "I went for a long walk in the hills today.",
                    "Today I walked [ten miles|all day] in the hills. Just saying!",
                    "I plan a walk in the hills on [Saturday|Sunday].",
                ),
                steps=(
                    "the air up there smells of [pine|grass] after rain",
                    "a flask of tea on the top tastes better than any [cafe|restaurant]",
                    "the view at the last [bend|gate] repays the sore legs",
                    "sheep on the path are the best [company|audience]",
                ),
            ),
            Aspect(
                key="an old film",
                asks=(
                    "I watched an old [film|movie] last night.",
                    "Do you like old films? I saw one on [Friday|Sunday].",
                ),
                steps=(
                    "black and white films let faces do the [talking|work]",
                    "those slow [scenes|endings] stay with you for days",
                    "the music in old cinema tells half the [story|plot]",
                    "every actor back then wore a [hat|coat] so well",
                ),
            ),
        ),
    ),
    Topic(
        name="pets",
        segment="chat",
        mode="tell",
        subject="my pet",
        wish="give your pet a [pat|treat]",
        questions=("what is its name?", "how old is it now?"),
        aspects=(
            Aspect(
                key="a cat that wakes you up",
                asks=(
                    "My cat woke me at [four|five] again.",
                    "My cat sits on my face every morning.",
                    "Why does my cat [sing|shout] at dawn?",
                ),
                steps=(
                    "cats hunt at dawn and you are the slow [mouse|prey]",
                    "a full bowl before bed buys you an extra [hour|nap]",
                    "your cat trained you to open [tins|doors] on demand",
                    "ten minutes with a [string|feather] at night tires a cat out",
                ),
            ),
            Aspect(
                key="a new puppy",
                asks=(
                    "We got a [puppy|little dog] today!",
                    "Our new puppy ate my [shoe|slipper].",
                ),
                steps=(
                    "puppies chew because their teeth are [growing|new]",
                    "a puppy sleeps like a stone after each [adventure|game]",
                    "shoes belong on a high [shelf|rack] from now on",
                    "the first bark at the [mirror|vacuum] is a great moment",
                ),
            ),
        ),
    ),
)
