"""Names that no label announces: after a title, in a greeting, below a closing, before a telephone number."""

from __future__ import annotations

import re

from privacy.detectors import labels
from privacy.detectors.interface import Rule, Span

KIND = "name"

_OF = (
    r"(?:(?:van|von|vom|zu|zur|de|den|der|del|della|di|da|do|dos|du|la|le|ten|ter|te|bin|binti|al|el|af|av)"
    r"(?= [A-Za-zÀ-ÿ']) ){0,3}"
)
_TITLE = re.compile(
    r"(?<![^\W\d_])(?:(?:[Mm][Rr][Ss]?|[Mm]s|MS|Miss|MISS|Mme|Mlle|Dr|DR|Prof|PROF|Herrn?|HERRN?|Frau|FRAU|Sra?|SRA?"
    r"|Sig(?:\.?ra)?|Encik|Cik|Puan|Tuan|Dato|Dott(?:\.?ssa)?|Avv|Hrn?|Mw|Dña|Mej)(?:\. ?|(?= )|(?<=[a-z])(?=[A-Z]))"
    r"|M\. ?(?!Sc|Ed|Eng|Phil)(?=[A-ZÀ-Þ][a-zà-ÿ'’\-])|D\. (?=[A-ZÀ-Þ][a-zà-ÿ]+ [A-ZÀ-Þ])"
    r"|(?:Monsieur|Madame|Se[nñ]ora?|Signora?|Don|Doña|Dhr\.?|Mevr\.?|[Mm]evrouw|[Mm]eneer|[Dd]e heer|Signor"
    r"|Spett\.le|Fam\.|Familie|Pan[ií]?) )"
    r" ?(?:(?:Dr|Prof|med)\.? ?){0,2}"
    rf"(?P<value>{_OF}[A-ZÀ-ÖØ-Þ][\w'’.\-]*(?: ?(?:van|von|de|der|den|del|la|le|di|da|bin|binti|al|el)(?= ))*"
    r"(?: ?[A-ZÀ-ÖØ-Þ][\w'’.\-]*){0,3})"
)
_GREETING = re.compile(
    r"(?m:^)[ \t]*(?:Dear|DEAR|Hello|Hi|Guten Tag|Liebe[rs]?|Sehr geehrte[rs]?|Cher|Chère|Chere|Bonjour|Estimad[oa]"
    r"|Querid[oa]|Gentile|Gent\.m[ao]|Car[oa]|Egregio|Beste|Geachte|Szanown[aey]|Drog[ia]|Kjære|Kära|Kære) "
    r"(?:(?:Monsieur|Madame|Mme|Mr|Mrs|Ms|Dr|Herrn?|Frau|Se[nñ]ora?|Signora?|Sig|Sra?|heer|mevrouw|Pan[ií]?)\.? )?"
    rf"(?P<value>{_OF}[A-ZÀ-Þ][^\n\t,:;!\[█]{{1,40}})"
)
_AFTER_GREETING = re.compile(
    r"(?m:^)[ \t]*(?i:Dear|Cher|Chère|Estimado|Gentile|Geachte|Szanowni|Sehr geehrter?) ?"
    r"(?i:customer|client|cliente|klant|kunde|państwo|panstwo|pani|pan|sir|heer|mevrouw|monsieur|madame),? ?"
    rf"(?P<value>{_OF}[A-ZÀ-ÞŁŚŻŹ][^\n\t,:;!\[█]{{1,40}})"
)
_CHINESE_GREETING = re.compile(
    r"(?m:^)[ \t]*(?:尊敬的|敬爱的|敬愛的|亲爱的|親愛的) ?(?P<value>[\u4e00-\u9fff]{1,4}?)"
    r"(?=先生|女士|小姐|太太|老师|老師|[ ,:!]|$)"
)
_NOT_GREETED = re.compile(
    r"(?i:customer|client|sir|madam|all|team|friend|guest|valued|member|kund)|客户|客戶|顾客|用户|會員|会员"
)
_NAME = r"(?P<value>[A-ZÀ-Þ][\w'.\-]*(?: [\w'.\-]+){1,3}|[\u4e00-\u9fff]{2,4})"
_CLOSED = rf"(?m:^)[ \t]*{labels.one_of(labels.CLOSING)}[ ,.!]*\n"
_CLOSING = re.compile(rf"{_CLOSED}[ \t]*{_NAME}(?=[ \t]*(?:\n|$))")
_SIGNED = re.compile(rf"{_CLOSED}[^\n]{{1,6}}\n[ \t]*{_NAME}(?=[ \t]*(?:\n|$))")
_SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎"
    "余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文"
    "張劉陳楊趙黃吳孫馬羅鄭謝韓馮蕭鄧許蘇盧蔣賈葉閻鐘譚鄒陸龍錢湯賴龔佐藤鈴木中"
)
_BEFORE_PHONE = re.compile(
    rf"(?P<value>[{_SURNAMES}][\u4e00-\u9fff]{{1,2}})"
    r"(?=[ \t,:]*(?:联系|聯絡|聯繫|連絡)?(?:电话|電話|手机|手機)(?:号码|號碼)?[ \t,:]*(?:[+(\d\n]|$))"
)
_LATIN_BEFORE_PHONE = re.compile(
    r"(?m:^)[ \t]*(?P<value>[A-ZÀ-Þ][a-zà-ÿ'\-]+(?: [a-z]{2,3})?(?: [A-ZÀ-Þ][\w'\-]+){1,2})(?=[ ,:]{1,3}"
    rf"{labels.one_of(labels.PHONE)}[\s:.]*[+(\d])"
)
_CHINESE_TITLE = re.compile(
    rf"(?P<value>[{_SURNAMES}][\u4e00-\u9fff]{{0,2}}?|(?<![\u4e00-\u9fff])[^\W\d_的有是在个個]{{2,4}}) ?"
    r"(?=先生|女士|小姐|太太|老师|老師|医生|醫生|大夫|教授|主任|同学|様|さん)"
)
_PATTERNS = (
    (_TITLE, 0.8, "after a title"),
    (_CHINESE_TITLE, 0.8, "before a title"),
    (_GREETING, 0.8, "in a greeting"),
    (_AFTER_GREETING, 0.7, "in a greeting"),
    (_CHINESE_GREETING, 0.8, "in a greeting"),
    (_CLOSING, 0.75, "below a closing"),
    (_SIGNED, 0.7, "below a closing and what was read of a signature"),
    (_BEFORE_PHONE, 0.7, "before a telephone number"),
    (_LATIN_BEFORE_PHONE, 0.6, "before a telephone number"),
)


def search(text: str) -> list[Span]:
    """Spans of names in a folded text."""
    return [
        Span(*match.span("value"), KIND, confidence, reason)
        for pattern, confidence, reason in _PATTERNS
        for match in pattern.finditer(text)
        if not _NOT_GREETED.match(match["value"])
    ]


RULE = Rule("name", "4", search)
