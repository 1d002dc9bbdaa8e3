"""Words that stand around names: what is done by or for people, what people are, and what institutions are called.

Latin languages only; any space in a phrase may be missing, since readers lose spaces.
"""

from __future__ import annotations

import re


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in re.sub(r"\s*\n\s*", " ", text).split(",") if word.strip())


def one_of(*groups: tuple[str, ...]) -> str:
    """A pattern for any of the phrases in any case, the longest first, not inside a word."""
    words = sorted({word for group in groups for word in group}, key=len, reverse=True)
    inner = "|".join(re.escape(word).replace(r"\ ", " ?").replace(r"\.", r"\.? ?") for word in words)
    return rf"(?:(?<![\w@])(?i:{inner})(?:(?<![^\W\d_])|(?![^\W\d_])|(?<=[a-zà-ÿ])(?=[A-Z])))"


_DONE = _words(
    """
    prepared, issued, written, compiled, reported, received, checked, approved, authorised, authorized, signed,
    witnessed, referred, completed, requested, ordered, booked, submitted, recorded, examined, reviewed,
    represented, seen, treated, collected, accompanied, introduced, inspected, notarised, sworn, verified, released,
    returned, paid, drawn up, created, entered
    """
)
STRONG = (
    *(f"{word} by" for word in _DONE),
    *_words(
        """
        on behalf of, in care of, care of, c/o, fao, attn, attention of, cc, bcc, spoke with, spoken with, spoke to,
        pay to the order of, payable to, sold to, transfer to, transferred to, payment from, transfer from, booked
        for, certify that, undersigned, the undersigned, claim of, estate of, account of, in re, in the matter of,
        signed, my name is, it may concern:, attended by, mein name ist, ich heiße, gezeichnet, gesprochen mit, je
        m'appelle, mon nom est, signé, parlé avec, me llamo, mi nombre es, fdo., firmado, hablé con, mi chiamo, il mio
        nome è, firmato, parlato con, mijn naam is, ik heet, getekend, sprak met, nazywam się, mam na imię, podpisano,
        podpisał, podpisała, rozmawiałem z, rozmawiałam z,
        your agent, your adviser, your advisor, your consultant, kind attention, made with, concluded with, entered
        into with, erstellt von, ausgestellt von, geprüft von, genehmigt von, unterschrieben von, bearbeitet von,
        verfasst von, überwiesen von, bestellt von, gemeldet von, vertreten durch, geschlossen mit, vereinbart mit,
        vertrag mit, aufgenommen von, erstellt durch, geprüft durch, z. hd. von, z. hd., z. h., im auftrag von, im
        auftrag, i. a., i. v., gez., es bediente sie, es beriet sie, überweisung an, überweisung von, antrag von,
        zugunsten von, gutschrift von, établi par, établie par, rédigé par, signé par, délivré par, reçu par,
        préparé par, vérifié par, représenté par, représentée par, etabli par, redige par, a l'attention de, à
        l'attention de, je soussigné, je soussignée, soussigné, soussignée, virement de, virement à, dossier de,
        conclu avec, au nom de, à l'ordre de, m. et mme, elaborado por, elaborada por, firmado por, recibido por,
        preparado por, emitido por, atendido por, representado por, representada por, solicitado por, a la atención
        de, a la atencion de, transferencia de, transferencia a, celebra con, celebrado con, a nombre de, a favor
        de, le atendió, le ha atendido, don, doña, redatto da, redatta da, firmato da, emesso da, preparato da,
        ricevuto da, compilato da, rappresentato da, alla c. a. di, alla alla cortese attenzione di, il
        sottoscritto, la sottoscritta, sottoscritto, sottoscritta, bonifico da, bonifico a, concluso con, stipulato
        con, a nome di, a favore di, intestato a, opgesteld door, ondertekend door, ontvangen door, opgemaakt door,
        behandeld door, vertegenwoordigd door, t. a. v., ter attentie van, ondergetekende, namens, gesloten met,
        overboeking van, overboeking aan, ten name van, t. n. v., sporządził, sporządziła, wystawił, wystawiła,
        odebrał, odebrała, przyjął, przyjęła, zatwierdził, zatwierdziła, niżej podpisany, niżej podpisana, przelew
        od, przelew dla, zawarta z, zawarto z, w imieniu, na rzecz, reprezentowany przez
        """
    ),
)
"""Words that announce a person, or a firm with its mark."""

LIKELY = _words(
    """
    ask for, asked for, left with, delivered to, handed to, abgegeben bei, übergeben an, ausgehändigt an, wenden sie
    sich an, remis à, remise à, entregado a, entregada a, consegnato a, consegnata a, afgegeven bij, overhandigd
    aan, doręczono, booking for, reservation for, buchung für, reservierung für, réservation pour, reserva para,
    prenotazione per, reservering voor, rezerwacja dla, present:, attendees:, in attendance:, anwesend:,
    teilnehmer:, présents :, présents:, asistentes:, presenti:, aanwezig:, obecni:
    """
)
"""Words that announce a person, or a room, a meal, a place of delivery."""

WEAK = _words(
    """
    by, with, from, to, between, from:, to:, re:, re, subject:, betreff:, von:, an:, objet:, asunto:, oggetto:,
    betreft:, dotyczy:, versus, vs., against, gegen, contre, contra, contro, tegen, przeciwko, zwischen, entre, tra,
    fra, tussen, pomiędzy, między, par, por, da, door, von, avec, con, met, employee, visitor, host, agent, contact
    """
)
"""Words that announce a person as well as many a thing."""

ROLE = _words(
    """
    customer, client, guest, passenger, kunde, kundin, gast, fahrgast, cliente, voyageur, passager, pasajero,
    huésped, passeggero, ospite, klant, klient, klientka, gość, patient, patientin, patiente, patiënt, patiënte,
    paziente, paciente, pacjent, pacjentka,
    witness, driver, author, mother, father, spouse, husband, wife, partner, son, daughter, guardian, parent,
    doctor, physician, nurse, surgeon, consultant, dentist, midwife, therapist, teacher, tutor, student, pupil,
    director, manager, buyer, seller, owner, tenant, landlord, lessee, lessor, borrower, lender, debtor, creditor,
    claimant, defendant, plaintiff, respondent, petitioner, appellant, complainant, victim, suspect, officer, judge,
    solicitor, attorney, lawyer, counsel, notary, secretary, treasurer, chairman, chairwoman, chair, president, ceo,
    cfo, engineer, technician, inspector, surveyor, assessor, adjuster, adviser, advisor, your adviser, agent,
    broker, clerk, assistant, accountant, executor, trustee, shareholder, beneficiary, policyholder, insured person,
    subscriber, registrant, attendee, participant, delegate, speaker, instructor, trainer, coach, visitor, host,
    employee, employer, supervisor, colleague, contact, emergency contact, caller, reporter, editor, gp, md, phd,
    rn, esq, hr, your contact, zeuge, zeugin, fahrer, fahrerin, verfasser, verfasserin, autor, autorin, mutter,
    vater, ehegatte, ehefrau, ehemann, arzt, ärztin, hausarzt, hausärztin, sachbearbeiter, sachbearbeiterin,
    ansprechpartner, ansprechpartnerin, ihr ansprechpartner, ihre ansprechpartnerin, mieter, mieterin, vermieter,
    vermieterin, käufer, verkäufer, kläger, klägerin, beklagter, beklagte, versicherter, versicherte, versicherte
    person, geschäftsführer, geschäftsführerin, leiter, leiterin, vorstand, notar, notarin, rechtsanwalt,
    rechtsanwältin, vertrieb, berater, beraterin, steuerberater, schuldner, gläubiger, bearbeiter, bearbeiterin,
    betreuer, betreuerin, lehrer, lehrerin, schüler, schülerin, eigentümer, halter, teilnehmer, teilnehmerin,
    mitarbeiter, mitarbeiterin, témoin, conducteur, conductrice, auteur, mère, père, époux, épouse, médecin,
    docteur, infirmière, infirmier, votre conseiller, votre conseillère, conseiller, conseillère, locataire,
    bailleur, acheteur, vendeur, demandeur, défendeur, assuré, assurée, gérant, gérante, directeur, directrice,
    notaire, avocat, avocate, élève, étudiant, étudiante, propriétaire, responsable, interlocuteur, testigo,
    conductor, conductora, autor, autora, madre, padre, cónyuge, esposo, esposa, médico, médica, doctora, enfermera,
    asegurado, asegurada, arrendador, arrendatario, comprador, vendedor, demandante, demandado, gerente, directora,
    notario, abogado, abogada, alumno, alumna, titular, propietario, asesor, asesora, testimone, autista, autore,
    autrice, coniuge, marito, moglie, medico, dottore, infermiere, assicurato, assicurata, locatore, conduttore,
    conduttrice, acquirente, venditore, attore, convenuto, direttore, direttrice, notaio, avvocato, alunno,
    titolare, proprietario, responsabile, referente, consulente, getuige, chauffeur, bestuurder, moeder, vader,
    echtgenoot, echtgenote, arts, huisarts, verzekerde, verhuurder, huurder, koper, verkoper, eiser, gedaagde,
    directeur, notaris, advocaat, leerling, eigenaar, contactpersoon, adviseur, świadek, kierowca, matka, ojciec,
    małżonek, lekarz, pielęgniarka, ubezpieczony, ubezpieczona, wynajmujący, najemca, kupujący, sprzedający, powód,
    pozwany, dyrektor, notariusz, adwokat, uczeń, właściciel, opiekun, prezes
    """
)
"""What people are: before a name, or after it."""

LIVES = _words(
    """
    residing at, residing in, resident at, resident in, resident of, living at, living in, who lives at, who lives in,
    lives at, lives in, of no fixed abode, wohnhaft in, wohnhaft, wohnt in, demeurant, domicilié, domiciliée, résidant,
    con domicilio en, domiciliado en, domiciliada en, vecino de, vecina de, residente in, residente a, residente en,
    domiciliato in, domiciliata in, wonende te, wonende, woonachtig te, woonachtig, zamieszkały, zamieszkała, zam.,
    zameldowany, zameldowana
    """
)
"""What is said of people alone, before where they live."""

AGED = (
    r"(?:(?i:aged?|im alter von|âgée? de|de edad|di età|in de leeftijd van|lat) ?:? ?\d{1,3}"
    r"(?!\d| ?(?i:mon|mois|mes|maan|mies|days?|weeks?|tage|wochen|jours|d[ií]as|giorni|dagen|dni))"
    r"|\d{1,3} ?(?i:years old|jahre alt|jaar oud)(?![^\W\d_]))"
)
"""How old somebody is."""
YEARS = r"(?:de )?\d{1,3} ?(?i:years|yrs|y/?o|jahre|ans|años|anni|jaar|lat)(?![^\W\d_])"
"""How old somebody is, or how long a warranty holds."""

SERVED = _words(
    """
    served by, you were served by, your server was, your server is, your server, your cashier, your cashier was,
    cashier, waiter, waitress, barista, stylist, es bediente sie, sie wurden bedient von, bedient von, ihre
    bedienung, bedienung, kassierer, kassiererin, servi par, vous avez été servi par, caissier, caissière, serveur,
    serveuse, le atendió, le ha atendido, atendido por, cajero, cajera, camarero, camarera, operatore, cassiere,
    cassiera, servito da, bediend door, u werd geholpen door, kassamedewerker, kasjer, kasjerka, obsługiwał,
    obsługiwała
    """
)
"""What a receipt says before one name, given or full."""

THANKS = _words(
    """
    thanks, thank you, many thanks, cheers, regards, kind regards, best, best wishes, love, danke, vielen dank,
    grüße, viele grüße, liebe grüße, gruß, merci, cordialement, gracias, saludos, grazie, saluti, bedankt, groeten,
    groetjes, dzięki, pozdrawiam
    """
)
"""What stands above or before one name."""

STOP = frozenset(
    _words(
        """
        the, a, an, our, your, their, his, her, its, this, that, these, those, all, any, each, every, no, not, and,
        or, of, on, in, at, is, was, are, were, for, with, by, from, to, der, die, das, den, dem, des, ein, eine,
        einen, einem, einer, unser, unsere, ihr, ihre, ihren, dieser, diese, kein, keine, alle, und, oder, am, im,
        auf, bei, fur, mit, vom, zum, zur, le, la, les, un, une, du, ce, cette, notre, votre, son, sa, ses, et, ou,
        au, aux, pour, el, los, las, una, unos, su, sus, este, esta, y, o, para, il, lo, gli, uno, i, questo,
        questa, nostro, vostro, suo, het, een, de, deze, dit, ons, onze, uw, en, voor, ten, oraz, lub, na, dla, do,
        we, you, it, they, us, me
        """
    )
)
"""Small words: no name begins with one in capitals, nor goes on after it."""

INSTITUTION = frozenset(
    _words(
        """
        department, dept, division, section, team, office, service, services, desk, counter, branch, bank, company,
        council, committee, board, court, hospital, clinic, surgery, school, college, university, institute, ministry,
        agency, authority, government, police, customer, customers, client, clients, account, accounts, sales,
        support, reception, administration, admin, management, finance, accounting, payroll, marketing, purchasing,
        logistics, warehouse, store, shop, market, mall, hotel, restaurant, cafe, bar, insurance, holdings, group,
        international, street, road, avenue, building, centre, center, station, airport, savings, card, cash, credit,
        debit, payment, invoice, order, delivery, number, code, date, name, address, phone, details, main, till, pos,
        terminal, manager, system, user, abteilung, amt, gericht, klinik, krankenhaus, schule, universitat, kunde,
        kunden, konto, kundenservice, kundendienst, verwaltung, buchhaltung, versicherung, sparkasse, stadt, land,
        gmbh, verein, strasse, platz, clientele, comptabilite, banque, mairie, tribunal, hopital, clinique, ecole,
        universite, societe, agence, rue, caisse, departamento, oficina, banco, juzgado, clinica, colegio,
        universidad, ayuntamiento, empresa, cliente, calle, caja, ufficio, reparto, banca, tribunale, ospedale,
        scuola, universita, comune, azienda, societa, via, cassa, afdeling, kantoor, rechtbank, ziekenhuis, kliniek,
        gemeente, klant, straat, kassa, dzial, biuro, sad, szpital, szkola, uniwersytet, urzad, firma, spolka, ulica,
        kasa, consumidor, final, divers, comptoir, room, double, single, standard, laufkundschaft, barverkauf,
        passage, entities, contract, information, leaflet, guide, form, record, records, portal, charter, safety,
        consent, history, summary, notes, book, list, satisfaction, loyalty, formular, bogen, fiche, ficha, hoja,
        modulo, scheda, formulier, karta, copy, copies, kopie, copie, copia, kopia, class, plan, test, data, warranty,
        guarantee, garantie, garantia, garanzia, gwarancja, gewahrleistung
        """
    )
)
"""Words of institutions, places and forms: what holds one is nobody's name."""
