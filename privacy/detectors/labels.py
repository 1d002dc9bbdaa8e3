"""The words by which a document announces a value: "Name", "Tel", "DOB", "姓名".

One vocabulary, because where one field's label begins, the value of the field before it ends.
Words are matched without regard to case, with any or no space between them, since readers lose spaces.
"""

from __future__ import annotations

import re
import unicodedata

from privacy.detectors import record_labels

_LETTER = "A-Za-zÀ-ÖØ-öø-žА-яЁё"


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in re.sub(r"\s*\n\s*", " ", text).split(",") if word.strip())


BIRTH = _words(
    """
    date of birth, birth date, birthdate, birthday, d.o.b, dob, born on, born in, born, geburtsdatum,
    geburtstag, geb. datum, geboren am, geboren, geb., né le, née le, né(e) le, ne le, nee le,
    date de naissance, né(e) le, geboren op, geboren te, nato/a il, nato/a, ur. dnia, urodzony, urodzona,
    fecha de nacimiento, fecha nac, f. nacimiento, nacido el, nacida el, data di nascita,
    nato il, nata il, nato a, nata a, data de nascimento, nascimento, geboortedatum, geb.datum, fødselsdato,
    födelsedatum, fodelsedatum, syntymäaika, data urodzenia, ur., datum narození, datum narozeni, doğum tarihi,
    dogum tarihi, tarikh lahir, tanggal lahir, tgl lahir, 出生日期, 出生年月日, 民國出生日期, 出生年月, 出生,
    生年月日, 生日, 생년월일, дата рождения
    """
)
PHONE = _words(
    """
    telefoonnummer, telefoon, telefonnummer, telefon nr, telephone, telefono, teléfono, telefone, telefon,
    téléphone, telephone no, phone number, phone no, phone, mobile phone, mobile no, mobile, handphone,
    hand phone, cell phone, cellphone, cell, mob, tlf, tfno, tel. no, tel no, telno, tel, tél, fax no, fax, telefax,
    handy, mobil, mobiel, móvil, movil, celular, cellulare, portable, gsm, whatsapp, hotline, h/p, hp, ph,
    contact no, contact number, call us, call, 联系电话, 联络电话, 手机号码, 手机号, 手机, 手機號碼, 手機, 聯絡電話,
    連絡電話, 聯繫電話, 行動電話, 电话号码, 电话, 電話, 传真, 傳真, 热线, 携帯, 전화, тел
    """
)
EMAIL = _words(
    """
    e-mail address, email address, e-mail, email, e.mail, mail, courriel, mél, correo electrónico, correo,
    posta elettronica,
    adres e-mail, 邮箱, 电子邮件, 电邮, 電子郵件, 電郵, 信箱, メール
    """
)
NAME = _words(
    """
    name of applicant, applicant, name des antragstellers, antragsteller, nom du demandeur, demandeur,
    nombre del solicitante, solicitante, nome del richiedente, richiedente, naam aanvrager, aanvrager, wnioskodawca,
    vor- und zuname, vor- und nachname, cognome e nome, nome e cognome, voor- en achternaam, nazwisko i imię, tenant,
    landlord, mieter, vermieter, locataire, bailleur, inquilino, arrendatario, huurder, najemca,
    pt, pat, full name, first name, given names, given name, last name, family name, surname, forename,
    middle name, maiden name, patient name, patient's name, name of patient, client name, customer name,
    guest name, employee name, student name, member name, holder's name, cardholder name, cardholder,
    card holder, account holder, account name, beneficiary name, beneficiary, contact person, name of insured,
    insured, passenger name, passenger, recipient, addressee, sender, ontvanger, afzender, empfänger, absender,
    destinataire, expéditeur, destinatario, remitente, mittente, destinatário, remetente, odbiorca, nadawca,
    signed by, prepared by, attn, attention, next of kin, emergency contact, patient, name, names, nachname,
    familienname, vorname, vornamen, kontoinhaber, nom de famille, nom et prénom, nom et prenom, prénom, prenom,
    prénoms, nom, titulaire, nombre completo, nombres, nombre y apellidos, nombre, apellidos, apellido, cognome,
    nome completo, nome, sobrenome, apelido, achternaam, voornamen, voornaam, naam, imię i nazwisko,
    imie i nazwisko, nazwisko, imię, imie, efternamn, förnamn, etternavn, fornavn, jméno, příjmení, adı soyadı,
    adi soyadi, nama pelanggan, nama, imiona, drugie imię, prenume, nume, 收件人, 寄件人, 联系人, 持卡人,
    患者姓名, 病患姓名, 患者, 病人姓名, 病人, 病患, 聯絡人, 收貨人, 收货人, 寄件者, 戶名, 持卡人姓名, 客户姓名,
    客户名称, 姓名, 姓 名, 名字, 户名, 氏名, お名前, 성명, 이름, фио
    """
)
ADDRESS = _words(
    """
    residing at, resident at, living at, wohnhaft, woonadres, wonende te, wonende, demeurant à, demeurant, domicilié à,
    domicilié, domiciliée, con domicilio en, residente in, residente en, zamieszkały, zamieszkała, miejsce zamieszkania,
    现居住于, 居住於, 現居住於, 居住于, 现住址, 現住址,
    home address, street address, postal address, mailing address, billing address, shipping address,
    delivery address, residential address, current address, permanent address, address, residence, ship to,
    bill to, deliver to, anschrift, adresse, wohnort, wohnhaft in, domicile, dirección, direccion, domicilio,
    indirizzo, residenza, endereço, endereco, morada, adres, adress, alamat, 联系地址, 家庭住址, 收货地址,
    通讯地址, 户籍地址, 戶籍地址, 通訊地址, 收貨地址, 收件地址, 寄件地址, 聯絡地址, 住址, 地址, 住所, 주소,
    адрес
    """
)
IDENTITY = _words(
    """
    identity card no, identity card number, identity card, identity number, identity no, national id number,
    national id no, national id, personal id, personal number, id card no, id card number, id card, id number,
    id no, i.d. no, nric no, nric, ic no, mykad, ssn, s.s.n, social security number, social security no,
    social security, sin no, social insurance number, national insurance number, national insurance no,
    national insurance, ni number, nino, nhs number, nhs no, nhs, passport number, passport no, passport,
    driver's license no, driver's license, driver license, drivers license, driving licence no, driving licence,
    driver number, licence no, license no, dl no, tax id no, tax identification number, taxpayer id, itin, tfn,
    medicare no, medicare number, medicare, steuer-id, steueridentifikationsnummer,
    steuer-identifikationsnummer, idnr, sozialversicherungsnummer, personalausweisnummer, personalausweis,
    ausweisnummer, ausweis-nr, reisepass, reisepassnummer, versichertennummer, numéro de sécurité sociale,
    n° de sécurité sociale, sécurité sociale, nir, carte d'identité, passeport, dni, nif, nie, d.n.i, pasaporte,
    codice fiscale, cod. fiscale, cpf, curp, rfc, rut, cuil, cédula, cedula, bsn, burgerservicenummer,
    rijksregisternummer, insz, svnr, sv-nummer,
    personnummer, personnr, fødselsnummer, fodselsnummer, cpr, cpr-nr, henkilötunnus, hetu, pesel, rodné číslo,
    rodne cislo, t.c. kimlik no, tc kimlik no, kimlik no, aadhaar no, aadhaar number, aadhaar, aadhar, pan no,
    pan card, nik, no ktp, mrn, medical record number, medical record no, patient id, patient no,
    patient number, hospital no, health card no, insurance no, insurance number, policy no, policy number,
    member id, member no, membership no, student id, student no, matriculation no, employee id, employee no,
    staff id, document number, document no, nr dokumentu, núm. de documento, nº de documento, numer dokumentu,
    numéro du document, n° du document, n. documento, numero documento, número de documento, dokumentnummer,
    ausweis nr, documentnummer, 身分證字號, 身分證號, 身分證, 身份證字號, 身份證號碼, 身份證號, 身份證,
    證件號碼, 證件號, 護照號碼, 護照, 居留證號, 健保卡號, 學號, 病歷號碼, 病歷號, 病歴號, 病歴号, 身份证号码, 身份证号,
    身份证,
    身分證統一編號, 统一编号, 公民身份号码, 公民身份证号码, 证件号码, 证件号, 护照号码, 护照号, 护照, 社保号, 驾驶证号,
    驾驶证,
    学号,
    工号, 病历号, 住院号, 门诊号, 医保号, マイナンバー, 個人番号, 주민등록번호, инн, снилс, паспорт
    """
)
ACCOUNT = _words(
    """
    n° de compte, compte n°, n.º de cuenta, cuenta, n. conto, conto n, numero conto, rekeningnummer, rekening,
    nr rachunku,
    nr konta, rachunek, konto nr, 银行账号, 银行帐号, 銀行帳號,
    iban, account number, account no, acct no, acct, a/c no, a/c, bank account, kontonummer, konto-nr, konto,
    card number, card no, credit card, debit card, card, wechat id, wechat, 微信号, 微信, qq, skype, telegram,
    银行卡号, 銀行卡號, 信用卡號, 卡號, 帳號, 帳戶, 银行卡, 信用卡号, 信用卡, 卡号, 账号, 帐号, 账户, 口座番号
    """
)
TAX = _words(
    """
    tax number, tax no, tax reg no, tax id, tax code, utr, unique taxpayer reference, ein, vat number, vat no,
    vat reg no,
    vat reg, steuernummer, st.-nr, st-nr, steuer-nr, ust-idnr, ust-id, umsatzsteuer-id, numéro fiscal, n° fiscal,
    n° tva, tva intracommunautaire, siret, siren, identificación fiscal, cif, partita iva, p. iva, p.iva,
    btw-nummer, btw-nr, btw nummer, fiscaal nummer, rsin, nip, nr nip, numero de contribuinte, contribuinte, cnpj,
    gst no, gst id, gst id no, gst id. no, gst reg, gst reg no, gst registration no, gstin,
    co reg no, co. reg, co. reg. no,
    company no, company reg no, company registration no, business reg no, roc no, abn, sst no,
    纳税人识别号, 统一社会信用代码, 社会信用代码, 税号, 統一編號, 統編
    """
)
RECORD = _words(record_labels.RECORD)
CUSTOMER = _words(record_labels.CUSTOMER)
PLATE = _words(
    """
    licence plate, license plate, plate no, plate number, number plate, registration mark, registration number,
    vehicle registration, vehicle reg, vehicle no, car reg, reg. no, registration, amtl. kennzeichen,
    amtliches kennzeichen, kfz-kennzeichen, kennzeichen, immatriculation, n° d'immatriculation, plaque, matrícula,
    placa, targa veicolo, targa, kentekennummer, kenteken, nr rejestracyjny, numer rejestracyjny, tablica rej,
    車牌號碼, 牌照號碼, 車牌, 车牌号码, 车牌号, 号牌号码, 车牌
    """
)
VEHICLE = _words(
    """
    vehicle identification number, chassis number, chassis no, frame number, vin, fahrgestellnummer, fahrgestell-nr,
    fahrzeug-ident-nr, fin, n° de série (vin), n° de série, n° de châssis, numéro de châssis, n.º de bastidor, bastidor,
    n. telaio, numero telaio, telaio, chassisnummer, nr nadwozia, numer nadwozia, engine no, engine number,
    车辆识别代号,
    车辆识别代码, 车架号, 發動機號碼, 发动机号码, 車身號碼, 車架號碼
    """
)
EVENT = _words(
    """
    date of admission, admission date, admitted on, admitted, date of discharge, discharge date, discharged on,
    discharged,
    date of death, died on, died, deceased, date of marriage, married on, date of accident, date of surgery,
    date of visit, appointment, aufnahmedatum, aufgenommen am, aufnahme am, entlassungsdatum, entlassen am,
    gestorben am, verstorben am, unfalltag, behandelt am, op-datum, date d'admission, admis le, admise le, entré le,
    date de sortie, sorti le, décédé le, fecha de ingreso, ingresado el, ingreso, fecha de alta, fallecido el,
    data di ricovero, ricoverato il, data di dimissione, dimesso il, deceduto il, opnamedatum, opgenomen op,
    ontslagdatum, overleden op, data przyjęcia, przyjęty dnia, przyjęta dnia, data wypisu, zmarł dnia,
    入院日期, 入院时间, 入院時間, 住院日期, 出院日期, 出院时间, 手术日期, 手術日期, 死亡日期, 就诊日期, 就診日期
    """
)
SIGNATURE = _words(
    """
    signature, signed, sign here, unterschrift, gezeichnet, gez, signé, firma, firmado, firmato, handtekening, getekend,
    podpis, podpisano, assinatura, underskrift, 签名, 签字, 签章, 簽名, 簽字, 簽章
    """
)
CLOSING = _words(
    """
    yours sincerely, yours faithfully, yours truly, sincerely, sincerely yours, kind regards, best regards,
    warm regards, regards, best wishes, mit freundlichen grüßen, mit freundlichen grussen, freundliche grüße,
    viele grüße, hochachtungsvoll, cordialement, bien cordialement, salutations distinguées, atentamente,
    un saludo, saludos cordiales, saludos, le saluda, cordiali saluti, distinti saluti, met vriendelijke groet,
    hoogachtend, z poważaniem, pozdrawiam, atenciosamente, med vänlig hälsning, 此致, 敬上, 谨上, 謹上, 敬启,
    敬啟, 顺颂商祺, 順頌商祺, 敬礼, 敬禮, 此致 敬礼, 此致 敬禮, 敬祝 安康, 敬祝 健康, 敬祝 商祺, 敬颂 商祺, 敬頌 商祺,
    顺祝 商祺, 順祝 商祺, 祝好, 祝 安好, 即颂 近安, 即頌 近安, 谨致 问候, 謹致 問候, 敬具, 拜上, 谨启, 謹啟,
    with kind regards, with best regards, respectfully yours, respectfully, with best wishes, many thanks,
    liebe grüße, herzliche grüße, beste grüße, mit besten grüßen, bien à vous, sincères salutations,
    reciba un cordial saludo, un cordial saludo, muy atentamente, un saluto, in fede, con osservanza,
    met vriendelijke groeten, hartelijke groet, hartelijke groeten, z wyrazami szacunku, z szacunkiem,
    łączę pozdrowienia
    """
)
OTHER = _words(
    """
    sex, gender, nationality, date of issue, date of expiry, expiry date, expiry, valid until, valid thru,
    issued, issue date, authority, place of birth, height, weight, blood type, marital status, occupation,
    profession, signature, department, diagnosis, age, date, time, invoice no, invoice number, invoice, inv no,
    order no, order number, order, receipt no, receipt, bill no, ref no, ref, reference, total, subtotal,
    sub total, amount, qty, quantity, price, unit price, description, item, vat, gst, tax, page, cashier, table,
    terminal, change, cash, balance, due date, remarks, notes, company, postcode, zip, city, country, state,
    geschlecht, staatsangehörigkeit, datum, rechnung, betrag, summe, sexe, nationalité, facture, montant, sexo,
    fecha, factura, importe, sesso, cittadinanza, fattura, 性别, 性別, 國籍, 發票號碼, 訂單號碼, 數量, 單價,
    金額, 總計, 合計, 時間, 發證日期, division, section, 民族, 国籍, 日期, 时间, 金额, 合计, 总计, 数量, 单价,
    发票号, 订单号, 年龄, 科室, 诊断, 備考, 签发机关, 有效期, 有效期限, 公司, 单位
    """
)


_ALIKE = {"i": "[i1l|!]", "l": "[l1i|]", "o": "[o0]", "rn": "(?:rn|m)"}


def _loosely(word: str) -> str:
    """Spaces and hyphens become optional, letters may be their look-alikes, accents may be missing."""
    parts = [re.escape(part) for part in re.split(r"[ \-]", word)]
    alike = "rn|[ilo]" if len(word) > 3 else "[ilo]"  # "mrn" is not "mm"
    pattern = r"[ .\-]?".join(re.sub(alike, lambda m: _ALIKE[m.group()], part) for part in parts)
    bare = "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))
    return pattern if bare == word or not bare.isascii() else f"{pattern}|{_loosely(bare)}"


def one_of(*groups: tuple[str, ...]) -> str:
    """A pattern for any of the labels, the longest that fits, not inside a longer word.

    "NameJohn" and "NAMEJohn" hold the label, "Namesake" and "TELEVISION" do not.
    """
    words = sorted({word for group in groups for word in group}, key=len, reverse=True)
    inner = "|".join(_loosely(word) for word in words)
    after = rf"(?:(?![{_LETTER}])|(?<=[a-zà-ÿ])(?=[A-Z])|(?=[A-Z][a-zà-ÿ]))"
    return rf"(?:(?<![{_LETTER}])(?i:{inner}){after})"


GROUPS = (
    BIRTH, PHONE, EMAIL, NAME, ADDRESS, IDENTITY, ACCOUNT, TAX, RECORD, CUSTOMER, PLATE, VEHICLE, EVENT, SIGNATURE,
    CLOSING, OTHER,
)  # fmt: skip
ANY = re.compile(one_of(*GROUPS))
LONGEST = max(len(word) for group in GROUPS for word in group)


def bare(text: str) -> str:
    """A label without the colons, dots and brackets around it."""
    return re.sub(r"[\s:.;#*/()_\-]+", " ", text).strip()


def whole(group: tuple[str, ...]) -> re.Pattern[str]:
    """Matches what is one of the group's labels from end to end, once it is `bare`."""
    return re.compile(one_of(tuple(bare(word) for word in group), group))


def parted(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """What `text[start:end]` holds beside labels that can't be values: those of several words, or with a colon."""
    pieces, begin = [], start
    for match in ANY.finditer(text, start, end + LONGEST):
        if match.start() >= end:
            break
        if " " in match.group().strip() or text[match.end() :].lstrip(" ")[:1] == ":":
            pieces.append((begin, match.start()))
            begin = match.end()
    pieces.append((min(begin, end), end))
    shown = [(b - len(text[a:b].lstrip(" ,.:;")), a + len(text[a:b].rstrip(" ,:;"))) for a, b in pieces]
    return [(a, b) for a, b in shown if a < b]


def is_label(text: str) -> bool:
    """Does `text` consist of a label and nothing else?"""
    for shown in (bare(text), text.strip(" :.;#*")):
        match = ANY.match(shown)
        if match is not None and match.end() >= len(shown):
            return True
    return False
