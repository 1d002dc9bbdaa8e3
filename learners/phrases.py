"""What lines say: short texts as they stand on forms, bills and screens, with nobody's data in them."""

from __future__ import annotations

from learners.draws import Draws
from learners.personas import persona

_CODE = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"
_WORDS = (
    "Total amount due", "Invoice number", "Date of issue", "Payment received", "Order reference", "Delivery address",
    "Customer copy", "Terms and conditions", "Opening hours", "Please keep this receipt", "Account summary",
    "Balance carried forward", "Value added tax", "Net weight", "Unit price", "Description of goods", "Signature",
    "Thank you for your visit", "Valid until", "Issued by", "Page 2 of 3", "Not transferable", "Room service",
    "Single ticket", "Second class", "Return by post", "Approved by", "Department of Health", "Annual report",
)  # fmt: skip
_CHINESE = (
    "合计金额", "发票号码", "开票日期", "收款人", "订单编号", "收货地址", "商品名称", "单价", "数量", "备注", "客户联",
    "有效期至", "签发机关", "营业时间", "欢迎光临", "谢谢惠顾", "请妥善保管", "电子客票", "检查结果", "医保类型",
    "住院科室", "账户余额", "付款方式", "扫码支付", "服务热线", "规格型号", "生产日期", "保质期", "产品批号",
    "执行标准",
)  # fmt: skip


def plain(draws: Draws) -> str:
    """A line of English in ASCII."""
    kind = draws.below(6)
    if kind == 0:
        return draws.pick(_WORDS)
    if kind == 1:
        return f"{draws.pick(_WORDS)}: {draws.between(1, 9999)}.{draws.digits(2)}"
    if kind == 2:
        return f"{draws.pick(_WORDS)} {draws.string(_CODE, draws.between(4, 9))}"
    if kind == 3:
        return f"{draws.pick(_WORDS)} {draws.between(1, 28):02}/{draws.between(1, 12):02}/{draws.between(1990, 2030)}"
    words = persona(draws, draws.pick(("en_US", "en_GB")), sentences=1).sentences[0].split()
    return " ".join(words[: draws.between(2, 7)])


def chinese(draws: Draws) -> str:
    """A line of simplified or traditional Chinese, some with digits or Latin letters."""
    kind = draws.below(4)
    if kind == 0:
        return f"{draws.pick(_CHINESE)}：{draws.between(1, 99999)}.{draws.digits(2)}"
    if kind == 1:
        return f"{draws.pick(_CHINESE)}{draws.string(_CODE, draws.between(4, 10))}"
    who = persona(draws, draws.pick(("zh_CN", "zh_CN", "zh_TW")), sentences=1)
    return who.employer if kind == 2 else who.sentences[0].strip(".")
