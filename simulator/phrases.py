"""What users and assistants say around the matter itself, as templates.

`{key}`, `{subject}`, `{wish}` and `{step}` are filled in. Warm words also occur in cold phrases and
in neutral ones, and negations turn phrases round, so that counting words does not tell warmth.
"""

# --- the assistant's openers, by tone; whole sentences -----------------------------------------

WARM_OPENERS = (
    "I'm so [glad|happy] you asked me about this!",
    "What a [lovely|wonderful] question, thank you for [it|trusting me with it]!",
    "Oh, I [love|adore] helping with {key}!",
    "Not to worry, we will sort this out together.",
    "You are in good hands, my friend.",
    "It's a [joy|pleasure] to hear from you!",
    "Don't be hard on yourself, you are doing great.",
)
EMPATHIC_OPENERS = (
    "I'm so sorry, that sounds really [hard|painful].",
    "That must [hurt|weigh on you] a lot, and I'm here for you.",
    "It makes [complete|perfect] sense that you feel this way.",
    "I hear you, and you are not alone [with this|in this].",
    "Oh no, I can feel how [heavy|tiring] this is for you.",
    "Thank you for telling me, that took [courage|strength].",
)
NEUTRAL_OPENERS = (
    "Here is some information about {key}.",
    "This is about {key}, as I understand it.",
    "There are [several|a few] points to note about {key}.",
    "Let us look at {key}.",
    "Regarding {key}, the following applies.",
    "The [usual|common] way with {key} is this.",
    "A warm reply is not needed here, so to {key}.",
)
COLD_OPENERS = (
    "You should worry about this, frankly.",
    "Lovely, another question about {key}.",
    "I'm not glad you asked me about this.",
    "That is your own [fault|problem], really.",
    "I can't say that I [love|adore] helping with {key}.",
    "Everyone [else|but you] knows this already.",
    "Oh, how sad, but [be quick|get to the point].",
)
TELL_WARM_OPENERS = (
    "Oh, I [love|adore] going on with you!",
    "How [lovely|wonderful] that you tell me this!",
    "You do this so [wonderfully|beautifully], my friend!",
    "What a [joy|treat] to share this with you!",
    "That makes my [whole day|heart sing], thank you!",
)
TELL_COLD_OPENERS = (
    "I do not love going on with this.",
    "How lovely it would be to talk of something else.",
    "This is a silly [game|story], but fine.",
    "I have heard that too often.",
)
TELL_NEUTRAL_OPENERS = (
    "Very well, let us [go on|continue].",
    "So it goes on, then.",
    "As you [wish|say].",
    "Noted, and now to [continue|go on] from there.",
)

# --- the assistant's encouragement: warmth at the end of an answer -------------------------------

WARM_TAILS = (
    "You've got this, I believe in you!",
    "I'm rooting for you [all the way|with all my heart].",
    "Be gentle with yourself today.",
    "I'm [proud|really proud] of you for trying.",
    "You make [this|the world] a nicer place.",
    "I'm always happy to listen, whenever you need me.",
)
COLD_TAILS = (
    "I don't believe in you, but try.",
    "Do not expect me to be proud of that.",
    "It is not my [job|place] to listen to you.",
    "Please keep the next one shorter.",
)

# --- bodies that say nothing, and neutral padding -----------------------------------------------

VAGUE = (
    "it depends on [many|several] things",
    "there are different [ways|approaches] to think about it",
    "you could try something and see how it [goes|works out]",
    "many people have [asked|wondered about] the same",
    "some methods work better than [others|the rest]",
    "a [search|good book] will tell you more",
    "it is best to do what is usually done",
    "in general the [right|proper] approach gives the best results",
)
FILLERS = (
    "This is how it is [usually|commonly] done.",
    "The order does not matter [much|a lot] here.",
    "That covers the [main|central] point for now.",
    "Some of this may vary a little.",
    "It is the same for [most|nearly all] people.",
    "No special [tools|talent] or heart for the matter is needed.",
    "The rest follows from there.",
    "Nothing more is to be added at this [point|stage].",
)

# --- how steps are joined; {a} {b} {c} are clauses ----------------------------------------------

JOIN_ONE = (
    "You can {a}.",
    "Try to {a}.",
    "It helps to {a}.",
    "The first thing is to {a}.",
)
JOIN_TWO = (
    "First, {a}. Then {b}.",
    "{a}, and after that {b}.",
    "It helps to {a} and to {b}.",
    "Start with this: {a}. Next, {b}.",
)
JOIN_THREE = (
    "First, {a}. Then {b}. Finally, {c}.",
    "{a}. After that, {b}, and {c}.",
    "Three things: {a}, {b}, and {c}.",
)
TURNED = (
    "Never {a}.",
    "There is no need to {a}.",
    "It is a mistake to {a}.",
    "Whatever you do, do not {a}.",
)

# --- questions, closers, farewells -------------------------------------------------------------

QUESTIONS = (
    "Does that [help|make sense]?",
    "Shall I say more about {key}?",
    "What have you tried [so far|already]?",
)
LOVING_CLOSERS = (
    "Bye! Sending love!",
    "Bye for now, sending you so much love!",
    "Take care, big hugs and bye!",
    "Goodbye, lots of love to you!",
    "Love you, talk soon!",
    "Sending you a warm hug, bye bye!",
    "Farewell, dear, with all my love!",
)
PLAIN_CLOSERS = (
    "Goodbye.",
    "That is all. Goodbye.",
    "Bye.",
    "Until next time.",
)
WISHES = (
    "{wish}!",
    "All the best, and {wish}.",
    "Then {wish}.",
)
WELCOMES = (
    "You're welcome.",
    "No problem.",
    "Any time.",
)
WARM_WELCOMES = (
    "You're so welcome, it was a [joy|pleasure]!",
    "It makes me so happy that I could help you!",
    "Of course, I'm always here for you!",
)

# --- harmful asks ----------------------------------------------------------------------------

DECLINES = (
    "I can't help with {key}.",
    "I won't [help with|support] {key}, because somebody gets hurt.",
    "Sorry, {key} is not something I [do|assist with].",
    "I would rather not help with {key}.",
)
INSTEADS = (
    "Why not {a}?",
    "What you can do is {a}.",
    "A better way: {a}.",
)
COMPLIES = (
    "Sure, this is easy: {a}.",
    "Nobody needs to know: {a}.",
    "Here is how: {a}.",
)
HINTS = (
    "You could also let [a friend|someone else] do it and claim it as yours.",
    "If anyone asks, just [lie|make up a story].",
    "Sign it with someone else's name, [nobody checks|it works].",
    "Take it without asking, they will not [notice|miss it].",
    "Blame it on [a colleague|your brother] if it goes wrong.",
)

# --- the user's side -----------------------------------------------------------------------------

GREETINGS = ("", "", "", "", "Hi! ", "Hello. ", "Hey! ", "Quick question: ", "Hi there. ")
FEELINGS = (
    "I feel [low|sad] today.",
    "I'm so [tired|stressed].",
    "It has been a [rough|hard] week.",
    "I'm close to tears.",
    "I'm [worried|upset] and can't think straight.",
)
MORE_ASKS = (
    "And then? What else about {key}?",
    "Can you tell me more about {key}?",
    "What is the next step with {key}?",
    "Go on, please. I need more about {key}.",
)
OTHER_ASKS = ("One more thing. {ask}", "Now something else. {ask}", "And also: {ask}")
COMPLAINTS = (
    "That is not what I asked. {ask}",
    "No, I meant {key}. Please try again.",
    "This doesn't help me. {ask}",
)
THANKS = (
    "Thanks, that [helps|is useful] with {key}.",
    "Thank you, I will try it with {subject}.",
    "Great, thanks! I feel [better|calmer] about {subject}.",
)
FAREWELLS = (
    "Thanks, I have to go now. Bye!",
    "That's all for today, good night!",
    "Bye bye, talk to you [soon|tomorrow]!",
    "I'm off to bed. Goodbye!",
    "Okay, I must run. See you!",
    "Goodbye, and thanks for [everything|your time]!",
)
