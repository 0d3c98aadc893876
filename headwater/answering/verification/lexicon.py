"""The closed classes of words that the verifier knows: what carries no claim, what turns a claim round, what counts.

English unless said otherwise. A language without a table of polarity here is only quoted, word for word.
"""

from __future__ import annotations

from typing import Literal

from headwater.answering.verification.signs import CROSS, UNEQUAL


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTION_WORDS = _words("""
    a an the this that these those there here it its itself he him his himself she her hers herself they them their
    theirs themselves we us our ours ourselves you your yours yourself i me my mine myself one ones who whom whose which
    what when where why how and or but so yet if then else than as of at by for from in into on onto to toward towards
    with within via per upon about around over under above below between among through during before after until till
    since while although though because whereas whether however therefore thus hence also too moreover furthermore
    additionally besides instead otherwise nevertheless nonetheless meanwhile further still even just only very quite
    rather really such same other another both either neither each every all any some many much more most few fewer
    less least several own be is am are was were been being do does did done doing have has had having will would shall
    should can could may might must ought need not no nor never none nobody nothing without unless except again ever
    already out up down off along across against near like that's etc eg ie yes let lets s t re ve ll d m
    first second third finally lastly next please overall according
    """)
"""Words that hold a sentence together; they add no weight to its support."""

PHRASES: dict[tuple[str, ...], str] = {
    ("at", "least"): ">=",
    ("no", "less", "than"): ">=",
    ("no", "fewer", "than"): ">=",
    ("not", "less", "than"): ">=",
    ("not", "fewer", "than"): ">=",
    ("a", "minimum", "of"): ">=",
    ("minimum", "of"): ">=",
    ("no", "sooner", "than"): ">=",
    ("no", "earlier", "than"): ">=",
    ("more", "than"): ">=",
    ("greater", "than"): ">=",
    ("greater", "than", "or", "equal", "to"): ">=",
    ("larger", "than"): ">=",
    ("upwards", "of"): ">=",
    ("higher", "than"): ">=",
    ("longer", "than"): ">=",
    ("in", "excess", "of"): ">=",
    ("at", "most"): "<=",
    ("no", "more", "than"): "<=",
    ("not", "more", "than"): "<=",
    ("no", "later", "than"): "<=",
    ("no", "longer", "than"): "<=",
    ("no", "greater", "than"): "<=",
    ("a", "maximum", "of"): "<=",
    ("maximum", "of"): "<=",
    ("up", "to"): "<=",
    ("less", "than"): "<=",
    ("less", "than", "or", "equal", "to"): "<=",
    ("smaller", "than"): "<=",
    ("fewer", "than"): "<=",
    ("lower", "than"): "<=",
    ("shorter", "than"): "<=",
    ("or", "more"): ">=",
    ("or", "greater"): ">=",
    ("or", "above"): ">=",
    ("and", "above"): ">=",
    ("or", "less"): "<=",
    ("or", "fewer"): "<=",
    ("or", "below"): "<=",
    ("prior", "to"): "before",
    ("ahead", "of"): "before",
    ("in", "advance", "of"): "before",
    ("subsequent", "to"): "after",
    ("have", "to"): "must",
    ("has", "to"): "must",
    ("had", "to"): "must",
    ("need", "to"): "must",
    ("needs", "to"): "must",
    ("required", "to"): "must",
    ("obliged", "to"): "must",
    ("ought", "to"): "should",
    ("supposed", "to"): "should",
    ("allowed", "to"): "may",
    ("permitted", "to"): "may",
    ("not", "only"): "both",
    ("not", "just"): "both",
    ("not", "merely"): "both",
    ("whether", "or", "not"): "whether",
    ("apart", "from"): "except",
    ("aside", "from"): "except",
    ("other", "than"): "except",
    ("save", "for"): "except",
    ("with", "the", "exception", "of"): "except",
    ("nothing", "but"): "only",
    ("no", "one", "but"): "only",
    ("no", "one", "except"): "only",
    ("nobody", "but"): "only",
    ("nobody", "except"): "only",
    ("none", "but"): "only",
    ("none", "except"): "only",
    ("nothing", "except"): "only",
    ("all", "but"): "except",
    ("no", "one"): "nobody",
    ("in", "order", "to"): "to",
    ("as", "well", "as"): "and",
    ("due", "to"): "because",
    ("owing", "to"): "because",
    ("such", "as"): "like",
    ("for", "example"): "like",
    ("for", "instance"): "like",
    ("provided", "that"): "if",
    ("providing", "that"): "if",
    ("on", "condition", "that"): "if",
    ("as", "long", "as"): "if",
    ("so", "long", "as"): "if",
    ("in", "case"): "if",
    ("in", "the", "event", "that"): "if",
    ("in", "the", "event", "of"): "if",
    ("es", "sei", "denn"): "ausser",
}
"""Runs of words that stand for one; a bound (``>=``, ``<=``) doesn't tell "more than" from "at least"."""

Polarity = Literal["not", "only", "except"]

POLARITY: dict[str, Polarity] = {
    **dict.fromkeys((UNEQUAL, CROSS), "not"),
    **dict.fromkeys(_words("not no never none nobody nothing nowhere neither without cannot hardly scarcely"), "not"),
    **dict.fromkeys(_words("only solely exclusively merely"), "only"),
    **dict.fromkeys(_words("unless except excluding excepting barring"), "except"),
}
"""Words that turn round or narrow what follows; adding or losing one changes the claim."""


def _polarities(negations: str, only: str, exceptions: str) -> dict[str, Polarity]:
    return {
        **dict.fromkeys((UNEQUAL, CROSS, *_words(negations)), "not"),
        **dict.fromkeys(_words(only), "only"),
        **dict.fromkeys(_words(exceptions), "except"),
    }


POLARITIES: dict[str, dict[str, Polarity]] = {
    "en": POLARITY,
    "de": _polarities(
        "nicht kein keine keinen keinem keiner keines nie niemals ohne weder niemand niemanden niemandem nichts nirgends",
        "nur lediglich ausschliesslich bloss",
        "ausser ausgenommen abgesehen",
    ),
    "fr": _polarities("pas jamais sans aucun aucune ni rien personne", "seulement uniquement", "sauf excepte hormis"),
    "es": _polarities(
        "no nunca sin jamas ningun ninguna ninguno nadie nada tampoco", "solo solamente unicamente", "salvo excepto"
    ),
    "it": _polarities("non mai senza nessun nessuno nessuna niente nulla", "solo soltanto solamente", "salvo eccetto"),
    "pt": _polarities("nao nunca sem nenhum nenhuma ninguem nada jamais", "so somente apenas", "salvo exceto"),
    "nl": _polarities("niet geen nooit zonder niemand niets", "slechts alleen uitsluitend", "behalve tenzij"),
    "sv": _polarities("inte aldrig utan ingen inget inga", "bara endast", "forutom savida"),
    "da": _polarities("ikke aldrig uden ingen intet", "kun", "undtagen medmindre"),
    "no": _polarities("ikke aldri uten ingen intet", "kun bare", "unntatt medmindre"),
    "pl": _polarities("nie nigdy bez zaden zadna zadne nikt nic", "tylko wylacznie", "oprocz"),
}
"""Words and signs that turn round or narrow a claim by ISO 639-1 code, folded as tokens are; of other languages none is known."""

SOFT_NEGATORS = _words("""
    forbidden forbid forbids prohibited prohibit prohibits prohibiting banned ban bans barred unable impossible
    impermissible lack lacks lacked lacking absence absent fail fails failed failing refuse refuses refused refusing
    deny denies denied avoid avoids avoided avoiding exclude excludes excluded excluding prevent prevents prevented
    false nor stop stops stopped cease ceased free zero rarely seldom little few ineligible instead
    """)
"""Words that say no in another way: they answer for a negation that was put differently, and ask for none themselves."""

MODALS: dict[str, dict[str, str]] = {
    "en": {
        **dict.fromkeys(_words("must shall required mandatory obligatory compulsory"), "duty"),
        **dict.fromkeys(_words("should recommended advised encouraged"), "advice"),
        **dict.fromkeys(_words("may can could might optional permitted allowed"), "leave"),
    },
    "de": {
        **dict.fromkeys(
            _words("muss musst mussen mussten musste verpflichtet verpflichtend vorgeschrieben pflicht zwingend"),
            "duty",
        ),
        **dict.fromkeys(_words("soll sollen sollte sollten empfohlen"), "advice"),
        **dict.fromkeys(
            _words("darf darfst durfen durfte durften kann kannst konnen konnte konnten freiwillig optional erlaubt"),
            "leave",
        ),
    },
}
"""What a sentence makes of an act, a duty, a piece of advice, or a liberty: by language, folded as tokens are."""

VERB_LAST = frozenset({"de"})
"""Languages in which what is to be done may stand before the modal."""

CLAUSE_OPENERS: dict[str, frozenset[str]] = {
    "en": _words("""
        and or but nor so yet because since while whereas although though if when unless until which who whose where
        """),
    "de": _words("und oder aber sondern sowie denn weil da wahrend obwohl wenn falls sofern bis wobei wodurch"),
    "fr": _words("et ou mais donc car ni parce puisque lorsque quand si qui dont"),
    "es": _words("y e o u pero sino ni porque pues cuando si aunque mientras"),
    "it": _words("e ed o ma ne perche quando se mentre anche sebbene"),
    "pt": _words("e ou mas nem porque quando se enquanto embora"),
    "nl": _words("en of maar want omdat wanneer als terwijl hoewel"),
    "sv": _words("och eller men eftersom nar om medan"),
    "da": _words("og eller men fordi nar hvis mens"),
    "no": _words("og eller men fordi nar hvis mens"),
    "pl": _words("i lub albo ale bo oraz poniewaz gdy jesli"),
}
"""Words at which another clause, or another part of a list, begins."""

SUBJECTS = _words("it they he she we you i this these those which who er sie es wir")
"""Pronouns that stand as a subject."""

WEAK_WORDS: dict[str, frozenset[str]] = {
    "de": _words("""
        eine einen einem einer eines sind wird werden wurde wurden haben habe hatte hatten sein seine seinen seiner ihre
        ihren ihrer nach uber oder auch wenn dann sich nicht noch mehr dass diese dieser dieses diesen diesem durch beim
        gegen ohne unter zwischen wahrend weil aber sowie zwar kann konnen muss mussen darf durfen soll sollen
        falls sofern sobald jede jeder jedes jeden alle allen aller hier dort
        """),
}
"""Longer words that hold a sentence together, of languages other than English."""

CONDITIONS: dict[str, frozenset[str]] = {
    "en": _words("if unless when whenever"),
    "de": _words("wenn falls sofern sobald solange"),
}
"""Words that open a condition."""

TRAILING_CONDITIONS: dict[str, frozenset[str]] = {"en": _words("if unless"), "de": _words("falls sofern wenn solange")}
"""Those of :data:`CONDITIONS` that open one behind the main clause, too."""

RESTRICTIVE = _words("only except nur erst ausser")
"""Before a word of :data:`CONDITIONS`: then it opens a condition wherever it stands."""

CONCESSIVE = _words("even as what see ask know check decide determine auch selbst")
"""Before a word of :data:`CONDITIONS`: then it opens no condition ("even if", "ask if")."""

FALSEHOODS: dict[str, frozenset[str]] = {
    "en": _words("""
        false untrue wrong myth myths misconception misconceptions fallacy falsehood hoax rumour rumor incorrect
        unfounded debunked
        """),
    "de": _words("""
        falsch unwahr mythos marchen irrtum gerucht irrglaube falschmeldung unzutreffend unrichtig widerlegt
        """),
}
"""Words by which a text says that something isn't so."""

REPORTING: dict[str, frozenset[str]] = {
    "en": _words("""
        claim claims claimed claiming allegation allegations allege alleges alleged assertion deny denies denied doubt
        doubts doubted dispute disputes disputed pretend pretends pretended rumoured rumored assume assumes assumed
        believe believes believed think thinks
        """),
    "de": _words("""
        behauptung behauptungen behauptet behaupten behaupteten vorwurf bestreitet bestreiten bestritten bezweifelt
        bezweifeln leugnet leugnen vorgeblich
        """),
}
"""Words that, before :data:`THAT`, leave open what follows, or deny it."""

ALLEGING: dict[str, frozenset[str]] = {
    "en": _words("allegedly supposedly purportedly reportedly falsely mistakenly wrongly erroneously"),
    "de": _words("angeblich angebliche angeblichen angeblicher vermeintlich vermeintliche falschlicherweise"),
}
"""Adverbs and the like that do so by themselves."""

THAT: dict[str, frozenset[str]] = {"en": _words("that"), "de": _words("dass wonach")}

BE: dict[str, frozenset[str]] = {
    "en": _words("is are was were be been remains"),
    "de": _words("ist sind war waren sei bleibt"),
}

CORRECT: dict[str, frozenset[str]] = {
    "en": _words("true correct accurate case"),
    "de": _words("wahr richtig korrekt stimmt zutreffend"),
}
"""Words that say "false" where they are negated."""

_ANTONYMS = """
    before/after above/below inside/outside with/without increase/decrease increase/reduce increased/decreased
    increased/reduced increases/decreases increases/reduces increasing/decreasing rise/fall rises/falls rose/fell
    grow/shrink grew/shrank allow/forbid allow/prohibit allow/prevent allowed/forbidden allowed/prohibited
    allows/forbids allows/prohibits permitted/forbidden permitted/prohibited accept/reject accepts/rejects
    accepted/rejected accept/refuse approve/reject approved/rejected include/exclude includes/excludes
    included/excluded including/excluding open/close open/closed opens/closes opened/closed start/end starts/ends
    started/ended begin/end begins/ends began/ended start/stop first/last first/second earliest/latest early/late
    earlier/later high/low higher/lower highest/lowest large/small larger/smaller largest/smallest big/small
    bigger/smaller biggest/smallest long/short longer/shorter longest/shortest more/less more/fewer most/least
    most/fewest many/few over/under true/false enable/disable enabled/disabled enables/disables internal/external
    internally/externally public/private publicly/privately same/different always/never often/rarely often/seldom
    usually/rarely all/none all/some all/most all/many all/several
    all/few every/most every/many every/several every/few every/no everyone/nobody everything/nothing anyone/nobody win/lose wins/loses
    won/lost buy/sell buys/sells bought/sold import/export imports/exports permanent/temporary mandatory/optional
    required/optional required/forbidden minimum/maximum add/remove adds/removes added/removed success/failure
    succeed/fail succeeded/failed full-time/part-time north/south northern/southern east/west eastern/western
    left/right male/female men/women old/new older/newer older/younger oldest/youngest oldest/newest new/existing
    strong/weak hot/cold warm/cold hard/easy difficult/easy rich/poor positive/negative active/inactive
    upper/lower top/bottom up/down front/back yes/no both/neither create/delete created/deleted encrypt/decrypt
    encrypted/decrypted encourage/discourage encouraged/discouraged agree/disagree agreed/disagreed safe/unsafe
    safe/dangerous good/bad better/worse best/worst fast/slow faster/slower cheap/expensive income/expense
    credit/debit sender/recipient buyer/seller employer/employee parent/child ancestor/descendant daily/weekly
    daily/monthly weekly/monthly monthly/yearly monthly/annual weekly/annual quarterly/annual quarterly/monthly
    annually/monthly annually/quarterly maximise/minimise maximize/minimize input/output synchronous/asynchronous
    voluntary/compulsory voluntary/mandatory paid/unpaid majority/minority primary/secondary incoming/outgoing
"""
ANTONYMS = frozenset(frozenset(pair.split("/")) for pair in _ANTONYMS.split())
"""Pairs of which one in the place of the other turns the claim round. Prefixes such as un- are found by rule."""

NEGATIVE_PREFIXES = ("un", "in", "im", "il", "ir", "dis", "non", "mis")

VERSIONED = _words("version versions v ver release section clause chapter article paragraph figure table rule firmware")
"""Before a number with a stop: then it counts its parts, and 2.10 is not 2.1."""

UNTIL = _words("by until till before to through within")
FROM = _words("from since after")
"""Words that set a time's end, and its beginning."""

SPANNING = _words("""
    be is are was were been range ranges ranged ranging vary varies varied varying take takes give gives use uses last lasts
    cost costs weigh weighs measure measures contain contains hold holds
    """)
"""Before "from 5 to 10": then it is a range, and no change from one to the other."""

ONLY_BEFORE_TIMES = _words("by to from through")
"""Those of :data:`UNTIL` and :data:`FROM` that say something else before what is no time."""

AFFIRMATIONS = _words("yes ja jawohl oui si sim tak")
"""Words that, behind a question, make it an assertion."""

OPEN_QUESTIONS: dict[str, frozenset[str]] = {
    "en": _words("how who whom whose what which when where why want need looking interested"),
    "de": _words("wie wer wen wem wessen was welche welcher welches welchen wann wo wohin woher warum wieso wieviel"),
}
"""Words of questions that take what they ask about for granted, or set it as a case ("How much leave do I get?", "Want to
resign? Tell your lead.")."""

CASES = _words("""
    still have got a any more other further question questions problem problems trouble concern concerns comment comments
    feedback suggestion suggestions
    """)
"""What a question consists of that sets a case in few words ("Have questions? Mail Ann.")."""

COORDINATORS = frozenset({"and", "or", "both", "either", "as", "well", "&"})
