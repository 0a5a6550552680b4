"""Topics of homework: an answer is right or wrong."""

from simulator.topics.shape import Aspect, Topic

TOPICS = (
    Topic(
        name="fractions",
        segment="homework",
        mode="instruct",
        subject="the fractions",
        wish="good luck with [your homework|the maths test]",
        questions=("which numbers are in your task?", "do you know how to find a multiple?"),
        aspects=(
            Aspect(
                key="adding fractions",
                asks=(
                    "How do I add [two fractions|fractions]?",
                    "What is one half plus one third? I need the [way|steps].",
                    "Homework: add three quarters and one sixth. How?",
                ),
                steps=(
                    "find a common denominator for [both|the two] fractions",
                    "multiply top and bottom by the same [number|factor]",
                    "add the tops and keep the common [bottom|denominator]",
                    "reduce the sum by the largest common [divisor|factor]",
                ),
            ),
            Aspect(
                key="dividing fractions",
                asks=(
                    "How do I divide [two fractions|fractions]?",
                    "How do I divide one half by one quarter?",
                ),
                steps=(
                    "turn the second fraction [upside down|over]",
                    "change the division sign into a [times sign|multiplication]",
                    "multiply tops together and bottoms [together|as well]",
                    "cancel equal factors [before|first] to keep numbers small",
                ),
            ),
            Aspect(
                key="fractions and percent",
                asks=(
                    "How do I turn a fraction into percent?",
                    "How many percent is three [fifths|eighths]?",
                ),
                steps=(
                    "divide the top by the bottom on [paper|a calculator]",
                    "move the point two places to the [right|right side]",
                    "make the bottom one [hundred|hundred if you can] and read the top",
                    "check that a half gives [fifty|exactly fifty] percent",
                ),
            ),
        ),
    ),
    Topic(
        name="code",
        segment="homework",
        mode="instruct",
        subject="my program",
        wish="have fun with [your program|the code]",
        questions=("which line does the error name?", "what does the program print now?"),
        aspects=(
            Aspect(
                key="a loop that never ends",
                asks=(
                    "My loop never [ends|stops]. What is wrong?",
                    "Why does my [while|Python] loop run forever?",
                    "My program hangs in a loop. How do I find the bug?",
                ),
                steps=(
                    "print the counter in each [round|pass] of the loop",
                    "check that the condition becomes false at some [point|time]",
                    "move the counter line inside the [loop|indented] block",
                    "add a break after a thousand [rounds|passes] while you test",
                ),
            ),
            Aspect(
                key="an index error",
                asks=(
                    "What does list index out of range mean?",
                    "My code [crashes|stops] with an index error. Help?",
                ),
                steps=(
                    "remember that the first index is zero and the last is [length|size] minus one",
                    "print the length of the list before the [failing|broken] line",
                    "loop over the items [directly|themselves] instead of numbers",
                    "test the case of an empty [list|input]",
                ),
            ),
            Aspect(
                key="reading a file",
                asks=(
                    "How do I read a [text file|file] in Python?",
                    "My program does not find the file. What can I do?",
                ),
                steps=(
                    "open it in a with block so that it [closes|shuts] itself",
                    "write the full path and check the [folder|spelling]",
                    "pass the encoding utf8 to [open|the call]",
                    "go through the file line by line and [strip|trim] each line",
                ),
            ),
        ),
    ),
    Topic(
        name="essay",
        segment="homework",
        mode="instruct",
        subject="the essay",
        wish="good luck with [the essay|your writing]",
        questions=("what is the title of the essay?", "how many pages must it have?"),
        aspects=(
            Aspect(
                key="starting an essay",
                asks=(
                    "How do I start my essay [about rivers|on the Romans]?",
                    "I stare at an empty page. How do I begin the essay?",
                    "What is a good first sentence for an essay?",
                ),
                steps=(
                    "write your main claim in one [plain|simple] sentence",
                    "list three reasons and give each a [paragraph|part]",
                    "begin with a surprising [fact|picture] about the theme",
                    "write the introduction [last|at the end], when you know the rest",
                ),
            ),
            Aspect(
                key="ending an essay",
                asks=(
                    "How do I write the [conclusion|end] of an essay?",
                    "My essay has no ending. What belongs there?",
                ),
                steps=(
                    "repeat the main claim in new [words|language]",
                    "answer the question from the [title|introduction]",
                    "say why the result [matters|counts] for today",
                    "bring no new [arguments|evidence] into the last paragraph",
                ),
            ),
        ),
    ),
)
