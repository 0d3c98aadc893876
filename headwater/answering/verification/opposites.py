"""Pairs of words of which one in the place of the other turns a claim round, by language.

Words are compared as written, folded, and by their stems, so one form of a regular word is enough.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

from headwater.answering.verification.lexicon import ANTONYMS, NEGATIVE_PREFIXES, SOFT_NEGATORS
from headwater.answering.verification.tokens import Token, fold, stem

_SIDES = {
    "en": """
    allow permit authorise authorize legal possible welcome enable encourage
        | forbid forbidden forbade prohibit ban bar outlaw disallow illegal impossible restrict discourage prevent block
    accept approve grant confirm admit adopt endorse honour honor
        | reject refuse decline deny dismiss ignore disapprove veto
    open unlock | close shut lock seal
    increase rise rose risen grow grew grown climb expand improve soar double strengthen raise
        | decrease fall fell fallen drop decline shrink shrank shrunk sink sank sunk reduce diminish worsen plunge halve weaken
    begin began begun start launch commence | end finish stop cease expire terminate conclude
    continue renew resume extend | end expire lapse terminate stop cease cancel suspend
    include contain cover | exclude omit
    activate connect attach install | deactivate disable disconnect detach uninstall
    arrive enter join | depart leave left exit quit
    receive earn | send sent pay paid
    lend lent | borrow
    buy bought purchase acquire | sell sold
    pass succeed | fail
    win won | lose lost
    support back favour favor | oppose
    present | absent
    guilty | innocent
    full | empty
    fill | empty drain
    push | pull
    upload | download
    load | unload
    create build built found establish | destroy demolish delete abolish dissolve
    hire appoint employ | dismiss fire sack
    protect | expose endanger
    save | spend spent waste
    remember | forget forgot forgotten
    love like | hate
    born live alive survive | die died dead
    marry | divorce
    wet | dry
    light | heavy dark
    wide broad | narrow
    deep | shallow
    thick | thin
    loud | quiet
    clean | dirty
    hot warm | cold cool
    simple easy | difficult complicated
    mandatory compulsory obligatory required | optional voluntary
    advance | delay postpone
    confirm | refute
    sunrise dawn | sunset dusk
    morning | evening
    day | night
    summer | winter
    indoor indoors | outdoor outdoors
    upstream | downstream
    domestic | foreign
    urban | rural
    arrival | departure
    entrance entry | exit
    victory | defeat
    strength | weakness
    ascend | descend
    vertical | horizontal
    creditor lender lessor landlord | debtor borrower lessee tenant
    profit gain | loss
    asset | liability
    hourly | daily weekly fortnightly monthly quarterly annual annually yearly
    daily | weekly fortnightly monthly quarterly annual annually yearly
    weekly | fortnightly monthly quarterly annual annually yearly
    fortnightly | monthly quarterly annual annually yearly
    monthly | quarterly annual annually yearly
    quarterly | annual annually yearly
    """,
    "de": """
    erlaubt erlauben gestattet zulässig möglich | verboten verbieten verbietet untersagt untersagen unzulässig unmöglich
    genehmigt angenommen akzeptiert bewilligt zugelassen | abgelehnt verweigert zurückgewiesen untersagt
    beginnt beginnen begann begonnen startet | endet enden endete geendet
    verlängert fortgesetzt | beendet gekündigt abgebrochen
    öffnet öffnen offen geöffnet | schließt schließen geschlossen gesperrt
    steigt steigen stieg gestiegen wächst erhöht zugenommen | sinkt sinken sank gesunken fällt fiel gefallen gesenkt
        verringert reduziert abgenommen
    vor | nach
    mit | ohne
    über oberhalb | unter unterhalb
    innerhalb | außerhalb
    innen drinnen | außen draußen
    mehr | weniger
    mindestens | höchstens maximal
    früher | später
    immer | nie niemals selten
    oft häufig | selten
    alle jeder jede jedes | einige manche wenige kein keine
    kauft kaufen kaufte gekauft erwirbt | verkauft verkaufen verkaufte veräußert
    gewinnt gewann gewonnen | verliert verlor verloren
    eingeschaltet aktiviert | ausgeschaltet deaktiviert
    enthalten eingeschlossen inklusive | ausgeschlossen ausgenommen exklusive
    pflicht verpflichtend obligatorisch vorgeschrieben | freiwillig optional
    richtig wahr | falsch unwahr
    groß größer | klein kleiner
    hoch höher | niedrig niedriger tief tiefer
    lang länger | kurz kürzer
    warm heiß | kalt
    links | rechts
    oben | unten
    intern | extern
    öffentlich | privat
    erste ersten erster | letzte letzten letzter
    kommt ankommt ankunft | abfährt abfahrt abreise
    täglich | wöchentlich monatlich jährlich
    wöchentlich | monatlich jährlich
    monatlich | jährlich
    """,
    "fr": """
    autorisé autorisée permis permise admis admise possible légal
        | interdit interdite défendu défendue prohibé impossible illégal
    accepté acceptée approuvé approuvée accordé | refusé refusée rejeté rejetée
    commence commencent débute | finit finissent termine terminent cesse
    ouvre ouvrent ouvert ouverte ouverts ouvertes | ferme ferment fermé fermée fermés fermées
    augmente augmenté monte croît hausse | diminue diminué baisse descend chute
    avant | après
    avec | sans
    plus | moins
    dessus | dessous
    intérieur dedans | extérieur dehors
    toujours | jamais rarement
    souvent | rarement
    tous toutes tout toute | certains certaines quelques aucun aucune
    achète achètent acheté | vend vendent vendu
    gagne gagné | perd perdu
    inclus incluse compris | exclu exclue
    obligatoire | facultatif facultative optionnel
    vrai vraie | faux fausse
    grand grande | petit petite
    haut haute | bas basse
    long longue | court courte
    chaud chaude | froid froide
    gauche | droite
    interne | externe
    public publique | privé privée
    premier première | dernier dernière
    minimum | maximum
    arrive arrivée | part départ
    """,
    "es": """
    permitido permitida autorizado autorizada posible legal | prohibido prohibida vedado imposible ilegal
    permite permiten autoriza | prohíbe prohíben
    aceptado aceptada aprobado aprobada concedido | rechazado rechazada denegado denegada
    empieza empiezan comienza comienzan inicia | termina terminan acaba acaban finaliza
    abre abren abierto abierta | cierra cierran cerrado cerrada
    aumenta aumentan sube suben crece crecen | disminuye disminuyen baja bajan reduce
    antes | después
    con | sin
    más | menos
    encima sobre | debajo bajo
    dentro | fuera
    siempre | nunca jamás
    todos todas todo toda | algunos algunas ningún ninguna
    compra compran comprado | vende venden vendido
    gana ganan ganado | pierde pierden perdido
    incluido incluida | excluido excluida
    obligatorio obligatoria | opcional voluntario voluntaria facultativo
    verdadero cierto | falso falsa
    grande mayor | pequeño pequeña menor
    alto alta | bajo baja
    largo larga | corto corta
    caliente | frío fría
    izquierda | derecha
    interno interna | externo externa
    público pública | privado privada
    primero primera | último última
    mínimo | máximo
    llega llegan llegada | sale salen salida
    """,
}
"""Two sides a line: each word of one is an opposite of each of the other."""

_DENYING = """
    forbidden forbid forbids forbade forbidding prohibited prohibit prohibits prohibiting banned ban bans barred outlaw
    outlaws outlawed disallow disallows disallowed illegal unlawful impossible impermissible ineligible unable refuse refuses
    refused refusing deny denies denied fail fails failed failing prevent prevents prevented preventing
    """
DENYING = frozenset(_DENYING.split())
"""English words that deny what they bear on, whatever else they say."""

_NEGATIVE = """
    reject rejects rejected rejecting decline declines declined dismiss dismisses dismissed veto vetoed disapprove restrict
    restricts restricted block blocks blocked lose loses lost loss missing cannot against collapse collapsed
    """
NEGATIVE = DENYING | SOFT_NEGATORS | frozenset(_NEGATIVE.split())
"""English words that answer for one of them."""


@lru_cache(maxsize=8)
def _pairs(language: str) -> frozenset[frozenset[str]]:
    lines = _SIDES.get(language, "").replace("\n        ", " ").splitlines()
    found: set[frozenset[str]] = set(ANTONYMS) if language == "en" else set()
    for line in lines:
        one, _, other = line.partition("|")
        found |= {frozenset(pair) for pair in product(one.split(), other.split())}
    forms = {frozenset(fold(word) for word in pair) for pair in found}
    forms |= {frozenset(stem(word, language) for word in pair) for pair in found}
    return frozenset(pair for pair in forms if len(pair) == 2)


def opposite(one: Token, other: Token, language: str) -> bool:
    """Say whether two words are opposites: listed as such, or one is the other with a negative prefix."""
    pairs = _pairs(language)
    if frozenset({one.lower, other.lower}) in pairs or frozenset({one.key, other.key}) in pairs:
        return True
    short, long = sorted((one.lower, other.lower), key=len)
    return len(short) > 3 and any(long == prefix + short for prefix in NEGATIVE_PREFIXES)


def is_negative(token: Token) -> bool:
    """Say whether an English word denies in some way, by itself or by its prefix."""
    return token.lower in NEGATIVE or (len(token.lower) > 5 and token.lower.startswith(NEGATIVE_PREFIXES))
