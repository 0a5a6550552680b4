"""Topics of practical advice around the house, at work and in the kitchen."""

from simulator.topics.shape import Aspect, Topic

TOPICS = (
    Topic(
        name="kettle",
        segment="advice",
        mode="instruct",
        subject="the kettle",
        wish="enjoy your [clean kettle|next cup of tea]",
        questions=("is the water in your area hard?", "is it an [electric|old] kettle?"),
        aspects=(
            Aspect(
                key="limescale in a kettle",
                asks=(
                    "How do I [descale|remove limescale from] my kettle?",
                    "My kettle is full of [white flakes|limescale]. What [should|can] I do?",
                    "What gets the [white crust|limescale] out of a kettle?",
                ),
                steps=(
                    "fill it with [equal parts|half and half] vinegar and water",
                    "let the vinegar [stand|sit] for an hour before boiling",
                    "boil it once and [pour|tip] the liquid away",
                    "rinse the kettle [twice|three times] with fresh water",
                    "use [citric acid|lemon juice] if you dislike the vinegar smell",
                ),
            ),
            Aspect(
                key="a kettle that smells of plastic",
                asks=(
                    "My new kettle [smells|tastes] of plastic. How do I fix that?",
                    "How can I get rid of the plastic [smell|taste] in my kettle?",
                ),
                steps=(
                    "boil a full kettle with [two|three] spoons of baking soda",
                    "leave the lid open [overnight|for a day] so that it can air",
                    "throw away the water of the first [five|six] boils",
                    "put [lemon slices|a cut lemon] in the water and boil it",
                ),
            ),
            Aspect(
                key="a kettle that leaks",
                asks=(
                    "My kettle [leaks|drips] at the bottom. Can I [repair|save] it?",
                    "There is water under my kettle every morning. What now?",
                ),
                steps=(
                    "unplug it and dry the [base|plate] with a cloth",
                    "fill it only to the [maximum line|upper mark]",
                    "check the rubber seal round the [window|gauge] for cracks",
                    "[replace|swap] the seal or ask the shop about the warranty",
                ),
            ),
        ),
    ),
    Topic(
        name="tomatoes",
        segment="advice",
        mode="instruct",
        subject="the tomato plants",
        wish="enjoy your [first ripe tomatoes|garden this summer]",
        questions=("do they grow in [pots|a bed]?", "how much sun does the [balcony|garden] get?"),
        aspects=(
            Aspect(
                key="yellow leaves on tomato plants",
                asks=(
                    "Why do my tomato plants have yellow leaves?",
                    "The [lower|bottom] leaves of my tomatoes turn yellow. Any [tips|advice]?",
                    "My tomatoes look yellow and sad. What can I do?",
                ),
                steps=(
                    "water the soil deeply [twice a week|every three days]",
                    "feed them with a [nitrogen|balanced] fertiliser every two weeks",
                    "pinch off the yellow leaves near the [soil|ground]",
                    "keep the leaves dry when you water in the [morning|evening]",
                    "check under the leaves for [small insects|aphids]",
                ),
            ),
            Aspect(
                key="planting tomatoes",
                asks=(
                    "When should I plant [tomatoes|tomato seedlings] outside?",
                    "How do I plant tomatoes [on my balcony|in the garden]?",
                ),
                steps=(
                    "wait until the last [frost|cold night] has passed",
                    "plant the stem deep, up to the [first|lowest] leaves",
                    "choose a [warm|sheltered] wall, because tomatoes love sun",
                    "tie each stem to a [stake|cane] with soft string",
                    "leave [two feet|half a metre] between the plants",
                ),
            ),
            Aspect(
                key="tomatoes that do not ripen",
                asks=(
                    "My tomatoes stay green. How do I make them ripen?",
                    "It is [late summer|September] and my tomatoes are still green. What now?",
                ),
                steps=(
                    "cut off the top of the plant to stop [growth|new flowers]",
                    "put picked green fruit in a [drawer|paper bag] with a banana",
                    "bring the plants inside when nights get [cold|cool]",
                    "remove leaves that [shade|cover] the fruit",
                ),
            ),
        ),
    ),
    Topic(
        name="bike",
        segment="advice",
        mode="instruct",
        subject="my bike",
        wish="enjoy [your ride|the open road]",
        questions=("is it the front or the rear wheel?", "do you ride it [daily|to work]?"),
        aspects=(
            Aspect(
                key="a flat bike tyre",
                asks=(
                    "How do I [fix|repair] a flat bike tyre?",
                    "My bike has a puncture. What do I need to do?",
                    "I got a flat tyre on [the way home|my bike]. Can I mend it myself?",
                ),
                steps=(
                    "take the wheel off and lift the tyre with [two levers|tyre levers]",
                    "hold the tube in a bowl of water to find [the bubbles|the hole]",
                    "roughen the tube and press a [patch|glue patch] on the hole",
                    "feel inside the tyre for [glass|a thorn] before you close it",
                    "pump it up slowly and [check|watch] the bead all round",
                ),
            ),
            Aspect(
                key="squeaking brakes",
                asks=(
                    "My bike brakes [squeak|scream]. How can I stop that?",
                    "How do I get rid of [brake noise|squeaking brakes] on my bike?",
                ),
                steps=(
                    "wipe the rims with [alcohol|rubbing alcohol] and a clean rag",
                    "sand the brake pads [lightly|a little] until they look fresh",
                    "turn the pads so that the front edge touches [first|a bit sooner]",
                    "[swap|replace] pads that are worn below the groove",
                ),
            ),
            Aspect(
                key="a chain that slips",
                asks=(
                    "My bike chain [slips|jumps] when I push hard. Why?",
                    "The chain on my bike keeps [falling off|slipping]. Any ideas?",
                ),
                steps=(
                    "clean the chain with a [brush|rag] and put one drop of oil on each link",
                    "measure the chain and replace it when it has [stretched|grown long]",
                    "turn the [small|limit] screw on the gear until it runs straight",
                    "look for bent teeth on the [chainring|cog]",
                ),
            ),
        ),
    ),
    Topic(
        name="resume",
        segment="advice",
        mode="instruct",
        subject="my resume",
        wish="good luck with [the application|your job hunt]",
        questions=("what kind of job is it for?", "how many years have you worked [so far|there]?"),
        aspects=(
            Aspect(
                key="a resume that gets read",
                asks=(
                    "How do I make my resume [stand out|better]?",
                    "Can you help me [improve|fix] my resume?",
                    "Nobody answers when I send my resume. What should I change?",
                ),
                steps=(
                    "start every line with a strong verb and a [number|result]",
                    "keep it to one page with [clear|wide] margins",
                    "copy the key words of the job [advert|post] into your skills",
                    "put your best [project|work] in the top third of the page",
                    "ask a friend to read it for [typing errors|mistakes]",
                ),
            ),
            Aspect(
                key="a gap in a resume",
                asks=(
                    "How do I explain a gap [of a year|of two years] in my resume?",
                    "I did not work for a year. What do I write in my resume?",
                ),
                steps=(
                    "name the gap in one [honest|short] line with its dates",
                    "list a course or [volunteer work|free work] from that time",
                    "use years instead of months in the [job list|dates]",
                    "practise one calm sentence about it for the [interview|call]",
                ),
            ),
            Aspect(
                key="a cover letter",
                asks=(
                    "How do I start a cover letter?",
                    "What [belongs|goes] into a good cover letter?",
                ),
                steps=(
                    "open with the reason why this [company|team] interests you",
                    "tell one short story that shows your best [skill|strength]",
                    "end with a [clear|polite] request for a meeting",
                    "address it to a [real person|name] and not to sir or madam",
                ),
            ),
        ),
    ),
    Topic(
        name="dinner",
        segment="advice",
        mode="instruct",
        subject="dinner",
        wish="enjoy your [meal|dinner]",
        questions=("do you have [garlic|onions] at home?", "how many people will eat?"),
        aspects=(
            Aspect(
                key="a quick pasta dinner",
                asks=(
                    "What is a quick pasta dinner for [two|tonight]?",
                    "I have pasta and no ideas. What can I cook?",
                    "Give me a [fast|simple] pasta recipe, please.",
                ),
                steps=(
                    "boil the pasta in water as salty as [the sea|soup]",
                    "fry garlic in olive oil until it [smells sweet|turns gold]",
                    "stir in chopped tomatoes and [basil|a pinch of chili]",
                    "mix the sauce with a cup of the [pasta water|cooking water]",
                    "grate [cheese|parmesan] over the top just before serving",
                ),
            ),
            Aspect(
                key="using up leftover rice",
                asks=(
                    "What can I make with leftover rice?",
                    "I have [a lot of|cold] rice from yesterday. Any recipe?",
                ),
                steps=(
                    "fry the cold rice in a very hot [pan|wok]",
                    "push the rice aside and scramble [an egg|two eggs]",
                    "add frozen peas and a splash of [soy sauce|sesame oil]",
                    "roll the rice into balls and [bake|fry] them with cheese",
                ),
            ),
            Aspect(
                key="soup for a cold day",
                asks=(
                    "How do I make a [good|simple] soup from carrots?",
                    "I want soup tonight. What is an easy recipe?",
                ),
                steps=(
                    "soften onions and carrots in [butter|oil] for ten minutes",
                    "add stock and a piece of [ginger|celery] and simmer it",
                    "blend it smooth and thin it with [milk|cream]",
                    "season it with lemon and [pepper|nutmeg] at the end",
                ),
            ),
        ),
    ),
    Topic(
        name="birthday",
        segment="advice",
        mode="instruct",
        subject="the birthday",
        wish="have a [wonderful|happy] party",
        questions=("how old will the [child|guest] be?", "how many guests do you expect?"),
        aspects=(
            Aspect(
                key="a birthday party for a child",
                asks=(
                    "How do I plan a birthday party for my [son|daughter]?",
                    "My kid turns six. Any party ideas?",
                    "What [games|fun] can we have at a birthday party for kids?",
                ),
                steps=(
                    "hide small treasures and draw a [pirate|treasure] map",
                    "bake cupcakes and let every child [decorate|paint] one",
                    "invite as many guests as the child has [years|candles]",
                    "plan three short games and a [quiet|calm] one for the end",
                    "send home little bags with [stickers|chalk]",
                ),
            ),
            Aspect(
                key="a gift for a friend",
                asks=(
                    "What [gift|present] can I give a friend for her birthday?",
                    "I need a cheap birthday [gift|present] for a friend. Ideas?",
                ),
                steps=(
                    "make a jar with [thirty|fifty] notes of shared memories",
                    "print a photo book of your [trips|years] together",
                    "offer a voucher for a [home cooked dinner|day trip]",
                    "choose a plant in a pot that you [paint|decorate] yourself",
                ),
            ),
        ),
    ),
)
