"""The commonest words of some languages, and letters that only some of them write.

Written down by hand from grammar: articles, pronouns, prepositions, auxiliaries, question words. Trap: a word of two
languages ("die", "me") says nothing between them, which the caller must see to.
"""

COMMON: dict[str, frozenset[str]] = {
    "en": frozenset(
        "the a an and or but if of to in on at by for from with about into over after before under "
        "between out up down off is are was were be been being am do does did done have has had having "
        "can could will would shall should may might must not no yes i you he she it we they me him her "
        "us them my your his its our their mine yours this that these those there here what which who "
        "whom whose when where why how all any both each few more most other some such only own same so "
        "than too very just now then also as because while until again please need want get got make made "
        "go going know like say tell see use give take find set new old one two don t s m ve ll re d hi "
        "hello thanks thank much many long good time day today tomorrow patient son name men man die era".split()
    ),
    "de": frozenset(
        "der die das und den von zu mit sich des auf für ist im dem nicht ein eine auch es an werden aus "
        "er hat dass sie nach wird bei einer um am sind noch wie einem über einen zum war haben nur oder "
        "aber vor zur bis mehr durch man sein wurde ich wir mir mich kann wenn was mein meine meinen "
        "meiner warum keine kein wo wann bitte sehr gibt habe muss möchte können welche heute du ihr".split()
    ),
    "fr": frozenset(
        "de la le et les des en un du une que est pour qui dans par plus pas au sur ne se ce il sont elle "
        "avec je mais nous vous ou leur son cette aux ses être fait été ont comme tout mon ma mes l qu "
        "pourquoi comment puis quel quelle où quand suis ai dois peux ça c j n était votre très aujourd".split()
    ),
    "es": frozenset(
        "de la que el en y los del se las por un para con una su al lo como más pero sus le ya este sí "
        "porque esta entre cuando muy sin sobre también hasta hay donde quien desde mi yo es son está he "
        "ha qué cómo puedo tengo cuál dónde cuándo por estoy quiero necesito ser fue usted hoy mis los "
        "eso".split()
    ),
    "it": frozenset(
        "di e il la che in un a per è una sono con non si da come le dei del al i gli nel della alla più "
        "ma lo ha mi ho anche se o io questo questa mio mia perché cosa posso delle degli c l dell all "
        "quando dove quanto vorrei il sulla ho mie era stato oggi sto".split()
    ),
    "pt": frozenset(
        "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das "
        "tem à seu sua ou ser quando muito há nos já está eu também pelo pela até isso ela entre meu "
        "minha posso estou você onde qual preciso quero meus quanto hoje".split()
    ),
    "nl": frozenset(
        "de van het een en in is dat op te zijn met voor niet aan er om ook als dan maar of uit bij nog "
        "naar heeft hij ze wordt door je ik mijn wat kan hoe waarom geen deze dit zij wij mij heb moet "
        "kunnen waar wanneer wil mag vandaag u deze welke".split()
    ),
    "sv": frozenset(
        "och att det som en på är av för med den till inte om har de ett han jag var men från vi så kan "
        "när nu hur min mitt mina vad varför ska vill också eller där idag mig".split()
    ),
    "da": frozenset(
        "og at det som en på er af for med den til ikke om har jeg hvad hvorfor hvordan min mit mine kan "
        "vil".split()
    ),
    "pl": frozenset(
        "w i na z się nie jest że do o jak to po co dla od za ale czy przez tym być są mnie mam moja mój "
        "moje jestem dlaczego gdzie kiedy można mogę proszę tej już tak ten".split()
    ),
    "tr": frozenset(
        "ve bir bu için ile da de ne çok gibi daha var mı mi nasıl neden benim kartım olarak ama ben "
        "değil kadar sonra nerede zaman istiyorum lütfen".split()
    ),
    "cs": frozenset(
        "a se na že v je to s z do o i jako ale pro by jsem proč jak kde kdy moje můj není jsou mám mohu".split()
    ),
    "ro": frozenset(
        "și de la în nu cu este pe un o că sunt mai din care pentru am ce cum unde când meu mea pot vreau".split()
    ),
    "id": frozenset(
        "yang dan di ini untuk dengan tidak dari itu saya pada ada bisa akan apa bagaimana mengapa kartu "
        "ke".split()
    ),
    "vi": frozenset("và là của không có tôi cho được trong một này với các đã làm thế nào tại sao".split()),
}
"""Common words by language code."""
LETTERS: dict[str, frozenset[str]] = {
    "de": frozenset("äöüß"),
    "fr": frozenset("çèêëîïœùûâ"),
    "es": frozenset("ñ¿¡áíóú"),
    "it": frozenset("ìòàèù"),
    "pt": frozenset("ãõçáâ"),
    "sv": frozenset("åäö"),
    "da": frozenset("æøå"),
    "pl": frozenset("ąćęłńśźż"),
    "tr": frozenset("ığşçöü"),
    "cs": frozenset("ěščřžýůá"),
    "ro": frozenset("șțăâîşţ"),
    "vi": frozenset("đơưạảấầệốộờ"),
}
"""Letters beyond a-z that a language writes often."""
