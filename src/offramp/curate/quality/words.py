"""The commonest words of some languages, and letters that only some of them write.

Written down by hand: articles, pronouns, prepositions, auxiliaries, question words, and what every talk is made of
(to go, to pay, day, money, much); common English words are left out. Trap: a word of two languages ("die", "me") says
nothing between them, which the caller must see to.
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
        "der die das und den von zu mit sich des auf für ist im dem nicht ein eine auch es an werden aus er "
        "hat dass sie nach wird bei einer um am sind noch wie einem über einen zum war haben nur oder aber "
        "vor zur bis mehr durch man sein wurde ich wir mir mich kann wenn was mein meine meinen meiner "
        "warum keine kein wo wann bitte sehr gibt habe muss möchte können welche heute du ihr alle als also "
        "andere arbeit ab beim bekommen bin bist brauche dann danke dein denn dir doch drei eins einmal "
        "etwas fragen frau ganz geht geld gerade gern geworden gut guten haus hätte heißt hier hilfe ihm "
        "ihnen immer jahr jahre jeden jemand jetzt kaufen kommen kommt kosten lassen leider letzte machen "
        "macht mal meinem monat morgen nächste neue nichts nie nun ob ohne schon sehen seine seit selbst "
        "soll sollte stadt tag tage uhr uns unser unter viel vier vom warten weil weiß welcher wenig wer "
        "werde wieder will wissen woche wollte worden zeit zwei zwischen".split()
    ),
    "fr": frozenset(
        "de la le et les des en un du une que est pour qui dans par plus pas au sur ne se ce il sont elle "
        "avec je mais nous vous ou leur son cette aux ses être fait été ont comme tout mon ma mes l qu "
        "pourquoi comment puis quel quelle où quand suis ai dois peux ça c j n était votre très aujourd "
        "acheter ainsi aller alors année appeler après argent assez aucun avant avez avoir avons bien "
        "bonjour ces cela celle ceux chaque combien comprendre contre déjà depuis derrière dernier deux "
        "dire dit donc donner encore entre envoyer est-ce étaient faire fais faut femme fois gens heure "
        "heures hier homme ici jamais jour jours jusqu lui maintenant maison mal manger matin même mettre "
        "moi moins mois monde nouveau nouvelle nuit oui parce parler partir passer payer pendant petit peu "
        "peut personne plusieurs pourrais pouvez prendre premier près prochain quelque quoi rien sans "
        "savoir semaine sera seulement si soir sous toi tôt toujours tous toute toutes trois trop trouver "
        "tu va vais venir vers veux voir voudrais vos vraiment".split()
    ),
    "es": frozenset(
        "de la que el en y los del se las por un para con una su al lo como más pero sus le ya este sí "
        "porque esta entre cuando muy sin sobre también hasta hay donde quien desde mi yo es son está he ha "
        "qué cómo puedo tengo cuál dónde cuándo estoy quiero necesito ser fue usted hoy mis eso ahora algo "
        "alguien algún año años antes aquí así aunque ayer bien bueno cada casa comprar cosa cosas creo "
        "cuanto cuánto cuesta dar debe decir dejar después día días dinero dos ella ellas ellos encontrar "
        "entonces eres esa ese esos estaba estar estos fecha forma fueron gente gracias grande haber había "
        "hace hacer hacia hecho hola hora horas hombre jamás junto llamar llegar luego mañana mañanas mayor "
        "mejor menos mes mientras mismo momento mucho mucha muchas muchos mujer mundo nada nadie necesita "
        "ni ningún noche nombre nos nosotros nuestra nuestro nueva nuevo nunca otra otro otros parece parte "
        "pasado persona poco podría poder primero pronto pues puede pueden quería quién quieren quiere "
        "saber sabe sea según semana si siempre sido sino solo tan tanto te tener tiempo tiene tienen toda "
        "todas todo todos trabajo tres tu unas uno unos usar va vamos veces ver vez vida voy".split()
    ),
    "it": frozenset(
        "di e il la che in un a per è una sono con non si da come le dei del al i gli nel della alla più ma "
        "lo ha mi ho anche se o io questo questa mio mia perché cosa posso delle degli c l dell all quando "
        "dove quanto vorrei sulla mie era stato oggi sto abbiamo adesso alcuni allora altra altre altri "
        "altro anno anni ancora andare appena avere avete aveva bene bisogno buona buongiorno casa chi ciao "
        "ci ciò comprare così cui cose dal dalla davvero deve devo dopo domani domanda donna ecco ed erano "
        "essere fa fatto fino forse fra fuori funziona giorno giorni già grazie hai hanno ieri insieme "
        "invece lavoro lei loro lui lungo mai mattina meglio meno mentre mese mesi mondo molto molti nei "
        "nella niente noi nome nostra nostro notte nulla nuova nuovo ogni ognuno oppure ora ore parte però "
        "persona piccolo poco poi possiamo possono potete potrei prendere presto prima primo proprio può "
        "puoi qualche qualcosa quale quali quanta quanti quasi quel quella quelle quelli quello qui quindi "
        "sapere sai sarà scorso sempre senza sera settimana siamo sia siete signora soldi solo sopra sotto "
        "stare stata stati stesso su sua subito suo tanto te tempo ti troppo tu tutte tutti tutto uno uomo "
        "vado vedere vengo viene voglio voi volta volte vostro vuole vuoi".split()
    ),
    "pt": frozenset(
        "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das "
        "tem à seu sua ou ser quando muito há nos já está eu também pelo pela até isso ela entre meu minha "
        "posso estou você onde qual preciso quero meus quanto hoje agora ainda alguém algum alguma amanhã "
        "ano anos antes aqui assim bem bom cada casa coisa coisas comprar conta contra dar deve devo depois "
        "desde dia dias dinheiro disse dois duas então era essa esse esta estão estar estava este estes faz "
        "fazer fez ficar fim foram gente grande haver hora horas homem ir isto lá lugar maior manhã melhor "
        "menos mês meses mesmo minhas mulher mundo nada nem nenhum ninguém noite nome nossa nosso nova novo "
        "num numa nunca obrigado ontem outra outro outros parte pessoa pessoas pode podem poder porque "
        "pouco primeiro próximo põe qualquer quase quem quer querem saber sem semana sempre sete seus sim "
        "sobre somente tanto tão tarde te tempo tenho ter teve tinha toda todas todo todos trabalho três "
        "tudo usar vai vamos ver vez vezes vida vir vocês vou".split()
    ),
    "nl": frozenset(
        "de van het een en in is dat op te zijn met voor niet aan er om ook als maar of uit bij nog naar "
        "heeft hij ze wordt je ik mijn wat kan hoe waarom geen deze dit zij wij mij heb moet kunnen waar "
        "wanneer wil mag vandaag u welke al alle alleen alles altijd andere beter daar daarom dag dagen "
        "deel denk doe doen dus eens eerste eigen elke ga gaan gaat gedaan geld genoeg gewoon goed goede "
        "graag hadden hallo heel hebben heen helemaal hem hen hier hoeveel hun ieder iemand iets ja jaar "
        "jij jou jouw jullie keer kom komen komt kopen krijg krijgen laat laatste leven man maand maken "
        "mens mensen minder misschien moeten mogen morgen na nacht nee niemand niets nieuw nieuwe nodig "
        "nooit nu omdat onder ons onze oude over persoon samen sinds soms steeds straks tegen terug tijd "
        "toch toen tussen twee uur vaak veel vier volgende volgens voorbij vorige vraag vragen vrouw waren "
        "was weer weet weinig weten wie willen worden zal zeer zeggen zelf zich zien zo zonder zou".split()
    ),
    "sv": frozenset(
        "och att det som en på är av för med den inte om har de ett han jag var men från vi så kan när nu "
        "hur min mitt mina vad varför ska vill också eller där idag mig aldrig alla allt alltid andra "
        "använda bara behöver ber bli blir blev bra bort dag dagar denna deras dess detta dig din dina ditt "
        "du efter eftersom ena enligt er fick finns fram får fått första ge gick gjort gå går gör göra hade "
        "hela hennes hjälp honom igen ingen inga ingenting innan inom just kanske kom komma kommer kunde "
        "köpa lite länge mer mest mellan mot mycket många måste människor namn natt nej ni nog nytt någon "
        "något några ofta oss pengar per redan samma sedan ser sig sin sina sitt själv skulle snart stor "
        "större sådan tid timme två under upp ut utan vara varit veta vecka vem vid vilka vilken vår våra "
        "väl år än ännu åt över".split()
    ),
    "da": frozenset(
        "og at det som en på er af for med den til ikke om har jeg hvad hvorfor hvordan min mit mine kan "
        "vil alle alt altid anden behøver blev blive bliver da dag dage dem denne der deres dette dig din "
        "du efter eller ene et fik flere få får først ganske gør gøre gå går han hans havde hele hende her "
        "hjælp hos hun hvem hver hvis hvor ind ingen ja jeres køb kom komme kommer kun kunne lidt lige "
        "lille man mand mange meget mellem men mere mig måske nej nogen noget nogle nu når nødvendigt også "
        "op os over penge pige samme sammen se ser sig sin skal skulle stor så tak tid to uden ud uge under "
        "var ved vi ville være været vores år".split()
    ),
    "pl": frozenset(
        "w i na z się nie jest że do o jak to po co dla od za ale czy przez tym być są mnie mam moja mój "
        "moje jestem dlaczego gdzie kiedy można mogę proszę tej już tak aby albo bardzo bez bo bym chcę "
        "chcesz chyba ci ciebie coś cię czas czasem czego często dlatego dni dnia dobra dobrze dom dopiero "
        "drugi dwa dwie dziękuję dzień dziś dzisiaj ich ile im inny ja jaka jaki jakie jako jednak jeden "
        "jego jej jeszcze jeśli jeżeli jutro każdy kilka kiedyś kogo komu który która które ktoś kto kupić "
        "lat lub ludzie ma mają mi miał mieć miesiąc między moją mojego mówić musi muszę my nad nam nas "
        "nasz naszych nawet nic nich nigdy nim niż noc nowy obok oraz oto pani pierwszy pod podczas pomoc "
        "potem potrzebuję powiedzieć pracy prawie przed przy razem raz rok roku siebie sobie swój taki tam "
        "te tego temu teraz tobą trochę trzy tu tutaj twój ty tydzień tyle tylko u wam was wczoraj we więc "
        "wiem wiele wszystko wszystkie żadna żeby".split()
    ),
    "tr": frozenset(
        "ve bir bu için ile da de ne çok gibi daha var mı mi nasıl neden benim kartım olarak ama ben değil "
        "kadar sonra nerede zaman istiyorum lütfen ancak artık aynı bana başka bazı belki beni biraz biri "
        "biz bize bizim böyle bugün bunu burada bütün dün diye dolayı eğer en etmek evet fakat gece gelen "
        "gerek gün gündü hakkında hala hangi hayır hem hemen henüz hep her herkes hiç hiçbir ise işte "
        "itibaren kaç kendi kez ki kim kimse lazım nedir niye olan oldu olduğunu olmak olmaz olur ona ondan "
        "onlar onu orada oysa öyle rağmen saat sadece sana sen siz sizin şey şimdi şu tarafından "
        "teşekkürler tüm üzere veya ya yani yapmak yarın yeni yer yıl yok zaten".split()
    ),
    "cs": frozenset(
        "a se na že v je to s z do o i jako ale pro by jsem proč jak kde kdy moje můj není jsou mám mohu "
        "aby ani asi až bez bude budu být byl byla bylo chci co často další den dnes dobře dva děkuji hodin "
        "jaké jaký jeho její jejich jen jestli ještě jinak již jsi jsme jste kdo kdyby kolik který která "
        "které lidé má máte mě mezi mi mít mnoho mohl možná může musím nad nám náš ne nebo něco někdo nic "
        "nikdy nové od odkud ona oni ono před přes při proto protože rok roku si svůj ta tak také tam tato "
        "tedy tento tím toho tohle tuto ty u už vám vás ve více však všechno všechny zda zde zítra".split()
    ),
    "ro": frozenset(
        "și de la în nu cu este pe un o că sunt mai din pentru am ce cum unde când meu mea vreau acest "
        "această aceasta aceste acolo acum adică ai aici ale alt alte ani apoi are asta astăzi asupra "
        "atunci au avea aveți azi bine bună cât câte către ceva cine cineva cui da dacă dar despre deși "
        "doar doi după ea ei el ele era eu face fără fi fiecare fie fiind fost foarte iar îmi înainte între "
        "încă întreb le lor lui mei mele mereu mult mulți mulțumesc ne nici nimeni nimic noapte noastră "
        "nostru noi nouă oameni ori orice peste poate prea prin puțin sa să sau se spre suntem sus toate "
        "toți trebuie tu una unei unui vă voi vom vrea zi zile".split()
    ),
    "id": frozenset(
        "yang dan di ini untuk dengan tidak dari itu saya pada ada bisa akan apa bagaimana mengapa kartu ke "
        "adalah agar aku anda antara apakah atas atau bagi bahwa banyak baru beberapa belum berapa boleh "
        "bukan cara cukup dalam dapat dia hanya harus hari hingga ia ingin jadi jangan jika juga kami kamu "
        "kapan karena kata kita lagi lain lalu lebih maka mana masih mau melakukan mereka mungkin namun "
        "oleh orang pernah pukul saat saja sampai sangat satu sebagai sebelum sedang sehingga sekarang "
        "selalu semua seperti sering serta setelah siapa sudah supaya tahun tapi telah terima terlalu "
        "tersebut tetapi tolong waktu yaitu".split()
    ),
    "vi": frozenset(
        "và là của không có tôi cho được trong một này với các đã làm thế nào tại sao anh bạn bao bị bởi "
        "cái cần chỉ chưa chúng cũng cùng đang đây đến để đi điều đó em gì giờ hay hoặc hơn khi lại lên mà "
        "mình mỗi năm nên nếu ngày người nhiều như nhưng những nhất nói ở phải qua ra rất sau sẽ theo thể "
        "thì thời trên trước tự từ vẫn vào về vì việc xin".split()
    ),
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
