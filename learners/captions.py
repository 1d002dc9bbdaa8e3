"""What the yardstick's pages call a field: one wording for the pages that rules are tuned on, another for the rest.

One row a key, languages as in `learners.vocabulary`; before the bar the tuning wording, after it the held-out one.
"""

from __future__ import annotations

from learners.vocabulary import column

_CAPTIONS = {
    "name": (
        "Name of applicant|Full name", "Name des Antragstellers|Vor- und Zuname", "Nom du demandeur|Nom et prénom",
        "Nombre del solicitante|Nombre y apellidos", "Nome del richiedente|Cognome e nome",
        "Naam aanvrager|Voor- en achternaam", "Imię i nazwisko|Nazwisko i imię", "姓名|客户姓名", "姓名|客戶姓名",
    ),
    "born": (
        "Date of birth|Born", "Geburtsdatum|geb. am", "Date de naissance|Né(e) le", "Fecha de nacimiento|F. nac.",
        "Data di nascita|Nato/a il", "Geboortedatum|Geboren op", "Data urodzenia|Ur. dnia", "出生日期"
                                                                                            "|生日", "出生日期|生日",
    ),
    "address": (
        "Address|Residence", "Anschrift|Wohnhaft in", "Adresse|Domicile", "Dirección|Domicilio", "Indirizzo|Residenza",
        "Adres|Woonadres", "Adres|Miejsce zamieszkania", "地址|通讯地址", "地址|通訊地址",
    ),
    "phone": (
        "Telephone|Mobile", "Telefon|Handy", "Téléphone|Portable", "Teléfono|Móvil", "Telefono|Cellulare",
        "Telefoon|Mobiel", "Telefon|Tel. kom.", "联系电话|手机", "電話|手機",
    ),
    "email": (
        "E-mail|Mail", "E-Mail|Mail", "Courriel|Mél", "Correo|Correo electrónico", "E-mail|Posta elettronica",
        "E-mail|Mail", "E-mail|Mail", "电子邮件|邮箱", "電子郵件|信箱",
    ),
    "url": (
        "Website|Web", "Webseite|Internet", "Site|Site web", "Web|Página web", "Sito|Sito web", "Website|Internet",
        "Strona|WWW", "网站|主页", "網站|首頁",
    ),
    "tax": (
        "Tax number|UTR", "Steuernummer|St.-Nr.", "Numéro fiscal|N° fiscal", "NIF|Identificación fiscal",
        "Partita IVA|P. IVA", "BTW-nummer|Fiscaal nummer", "NIP|Nr NIP", "纳税人识别号|税号", "統一編號|統編",
    ),
    "record": (
        "Medical record no.|Hospital number", "Patientennummer|Fallnummer", "N° de dossier médical|N° patient",
        "N.º de historia clínica|NHC", "N. cartella clinica|N. paziente", "Patiëntnummer|Dossiernummer",
        "Nr karty pacjenta|Nr historii choroby", "病历号|门诊号", "病歷號|就診號",
    ),
    "case": (
        "Case no.|File ref.", "Aktenzeichen|Az.", "N° d'affaire|N° RG", "N.º de expediente|Exp.", "N. pratica|R.G. n.",
        "Zaaknummer|Rolnummer", "Sygn. akt|Sygnatura", "案号|案件编号", "案號|案件編號",
    ),
    "plate": (
        "Registration|Licence plate", "Kennzeichen|Amtl. Kennzeichen", "Immatriculation|Plaque", "Matrícula|Placa",
        "Targa|Targa veicolo", "Kenteken|Kentekennummer", "Nr rejestracyjny|Tablica rej.", "车牌号|号牌号码",
        "車牌號碼|牌照號碼",
    ),
    "vin": (
        "VIN|Chassis number", "Fahrgestellnummer|FIN", "N° de série (VIN)|N° de châssis", "Bastidor|N.º de bastidor",
        "Telaio|N. telaio", "Chassisnummer|VIN", "VIN|Nr nadwozia", "车架号|车辆识别代号", "車身號碼|車架號碼",
    ),
    "admitted": (
        "Admitted on|Date of admission", "Aufgenommen am|Aufnahmedatum", "Admis le|Date d'admission",
        "Fecha de ingreso|Ingreso", "Data di ricovero|Ricoverato il", "Opgenomen op|Opnamedatum",
        "Data przyjęcia|Przyjęty dnia", "入院日期|入院时间", "入院日期|住院日期",
    ),
    "account": (
        "Account number|Acct no.", "Kontonummer|Konto-Nr.", "N° de compte|Compte n°", "N.º de cuenta|Cuenta",
        "N. conto|Conto n.", "Rekeningnummer|Rekening", "Nr rachunku|Nr konta", "账号|银行账号", "帳號|銀行帳號",
    ),
    "id": (
        "National ID|ID number", "Steuer-ID|Steueridentifikationsnummer", "N° sécurité sociale|NIR", "DNI|N.I.F.",
        "Codice fiscale|C.F.", "BSN|Burgerservicenummer", "PESEL|Nr PESEL", "身份证号|公民身份号码",
        "身分證字號|身分證統一編號",
    ),
    "signature": (
        "Signature|Signed", "Unterschrift|Gezeichnet", "Signature|Signé", "Firma|Firmado", "Firma|Firmato",
        "Handtekening|Getekend", "Podpis|Podpisano", "签名|签字", "簽名|簽字",
    ),
    "card": (
        "Card|Paid by card", "Karte|Kartenzahlung", "Carte|Payé par carte", "Tarjeta|Pago con tarjeta",
        "Carta|Pagato con carta", "Pas|Betaald met pas", "Karta|Zapłacono kartą", "银行卡|刷卡支付", "信用卡|刷卡付款",
    ),
    "dear": (
        "Dear|Hello", "Guten Tag|Liebe Frau", "Cher Monsieur|Bonjour", "Estimado|Hola", "Gentile|Buongiorno",
        "Geachte heer|Beste", "Szanowny Panie|Dzień dobry", "尊敬的|亲爱的", "敬愛的|親愛的",
    ),
    "mr": (
        "Mr|Ms", "Herr|Frau", "M.|Mme", "Sr.|Sra.", "Sig.|Sig.ra", "Dhr.|Mevr.", "Pan|Pani", "|", "|",
    ),
    "between": (
        "This agreement is made with|It is agreed between",
        "Dieser Vertrag wird geschlossen mit|Vereinbarung zwischen",
        "Le présent contrat est conclu avec|Entre les soussignés",
        "Este contrato se celebra con|De una parte",
        "Il presente contratto è concluso con|Tra le parti",
        "Deze overeenkomst is gesloten met|Tussen ondergetekenden",
        "Umowa zostaje zawarta z|Pomiędzy stronami",
        "本合同与以下人员签订|甲方", "本契約與下列人員簽訂|甲方",
    ),
    "and": (
        "and|and", "und|und", "et|et", "y|y", "e|e", "en|en", "oraz|a", "与|乙方", "與|乙方",
    ),
    "resident": (
        "of|residing at", "aus|wohnhaft", "domicilié|demeurant", "de|con domicilio en", "di|residente in",
        "te|wonende te", "z|zamieszkały", "住所|现居住于", "住所|現居住於",
    ),
    "bill_to": (
        "Bill to|Deliver to", "Rechnung an|Lieferung an", "Facturé à|Livré à", "Facturar a|Entregar a",
        "Fatturare a|Consegnare a", "Factuur aan|Leveren aan", "Nabywca|Odbiorca", "付款方|收货方", "付款方|收貨方",
    ),
    "customer": (
        "Customer no.|Client no.", "Kundennummer|Kd.-Nr.", "N° client|Réf. client", "N.º de cliente|Cliente n.º",
        "N. cliente|Cod. cliente", "Klantnummer|Klantnr.", "Nr klienta|Numer klienta", "客户编号|会员号",
        "客戶編號|會員號",
    ),
    "members": (
        "LIST OF MEMBERS|VISITORS TODAY", "MITGLIEDERLISTE|BESUCHERLISTE", "LISTE DES MEMBRES|VISITEURS",
        "LISTA DE SOCIOS|VISITAS DE HOY", "ELENCO DEI SOCI|VISITATORI", "LEDENLIJST|BEZOEKERS",
        "LISTA CZŁONKÓW|GOŚCIE", "会员名单|来访登记", "會員名單|來訪登記",
    ),
    "statement": (
        "INVOICE|STATEMENT OF ACCOUNT", "RECHNUNG|KONTOAUSZUG", "FACTURE|RELEVÉ DE COMPTE",
        "FACTURA|EXTRACTO DE CUENTA", "FATTURA|ESTRATTO CONTO", "FACTUUR|REKENINGAFSCHRIFT",
        "FAKTURA|WYCIĄG Z RACHUNKU", "发票|对账单", "發票|對帳單",
    ),
    "clinic": (
        "DISCHARGE LETTER|LABORATORY REPORT", "ARZTBRIEF|LABORBEFUND", "LETTRE DE SORTIE|RÉSULTATS D'ANALYSE",
        "INFORME DE ALTA|RESULTADOS DE LABORATORIO", "LETTERA DI DIMISSIONE|REFERTO DI LABORATORIO",
        "ONTSLAGBRIEF|LABORATORIUMUITSLAG", "KARTA WYPISOWA|WYNIK BADANIA", "出院记录|检验报告单", "出院紀錄"
                                                                                          "|檢驗報告單",
    ),
    "vehicle": (
        "VEHICLE REGISTRATION|ACCIDENT REPORT", "ZULASSUNG|UNFALLBERICHT", "CARTE GRISE|CONSTAT D'ACCIDENT",
        "PERMISO DE CIRCULACIÓN|PARTE DE ACCIDENTE", "CARTA DI CIRCOLAZIONE|DENUNCIA DI SINISTRO",
        "KENTEKENBEWIJS|SCHADEAANGIFTE", "DOWÓD REJESTRACYJNY|ZGŁOSZENIE SZKODY", "机动车行驶证|事故报告",
        "行車執照|事故報告",
    ),
    "result": (
        "Result|Value", "Ergebnis|Wert", "Résultat|Valeur", "Resultado|Valor", "Risultato|Valore", "Resultaat|Waarde",
        "Wynik|Wartość", "结果|数值", "結果|數值",
    ),
}  # fmt: skip


def caption(key: str, locale: str, held_out: bool) -> str:
    """The field's label in one of two wordings."""
    return _CAPTIONS[key][column(locale)].split("|")[held_out]
