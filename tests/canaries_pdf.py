"""PDF files with a secret in one place beside what is drawn."""

from __future__ import annotations

import zlib
from collections.abc import Callable


def xmp(found: bytes) -> bytes:
    return (
        b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        b' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:creator>' + found + b"</dc:creator></rdf:Description>"
        b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )


def pdf_places() -> dict[str, Callable[[bytes], bytes]]:
    def page(
        *more: bytes, catalog: bytes = b"", entries: bytes = b"", content: bytes = b"", trailer: bytes = b""
    ) -> bytes:
        return pdf(list(more), catalog, entries, content, trailer)

    def stream(body: bytes, entries: bytes = b"") -> bytes:
        return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (entries, len(body), body)

    def layer(found: bytes) -> bytes:
        drawn = b"/OC /Hidden BDC BT /F1 12 Tf 10 8 Td (%s) Tj ET EMC" % found
        config = b"/OCProperties << /OCGs [5 0 R] /D << /OFF [5 0 R] /Order [5 0 R] >> >>"
        return page(b"<< /Type /OCG /Name (Hidden) >>", catalog=config, content=drawn)

    def packed(found: bytes) -> bytes:
        body = zlib.compress(b"9 0 << /Author (%s) >>" % found)
        entries = b"/Type /ObjStm /N 1 /First 4 /Filter /FlateDecode"
        return page(stream(body, entries))

    def attached(found: bytes) -> bytes:
        names = b"/Names << /EmbeddedFiles << /Names [(note.txt) 5 0 R] >> >>"
        return page(b"<< /Type /Filespec /F (note.txt) /EF << /F 6 0 R >> >>", stream(found), catalog=names)

    def note(found: bytes) -> bytes:
        entry = b"<< /Type /Annot /Subtype /Text /Rect [0 0 1 1] /F 2 /Contents (%s) >>" % found
        return page(entry, entries=b"/Annots [5 0 R]")

    def field(found: bytes) -> bytes:
        entry = b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (name) /V (%s) /Rect [10 4 150 20] /P 3 0 R >>" % found
        return page(entry, catalog=b"/AcroForm << /Fields [5 0 R] >>", entries=b"/Annots [5 0 R]")

    def earlier(found: bytes) -> bytes:
        """Saved again with another page content: the first is still in the file."""
        old = page(content=b"BT /F1 12 Tf 10 8 Td (%s) Tj ET" % found)
        start = int(old[old.rindex(b"startxref") :].split()[1])
        body = b"BT /F1 20 Tf 20 34 Td (Invoice 4471) Tj ET"
        at = len(old)
        anew = b"4 0 obj\n" + stream(body) + b"\nendobj\n"
        table = b"xref\n4 1\n%010d 00000 n \n" % at
        end = b"trailer\n<< /Size 5 /Root 1 0 R /Prev %d >>\nstartxref\n%d\n%%%%EOF\n" % (start, at + len(anew))
        return old + anew + table + end

    def beyond(found: bytes) -> bytes:
        return page(content=b"BT /F1 12 Tf 10 -300 Td (%s) Tj ET" % found)

    def unseen(found: bytes) -> bytes:
        return page(content=b"BT 3 Tr /F1 12 Tf 10 8 Td (%s) Tj ET" % found)

    def second(found: bytes) -> bytes:
        return pdf([], b"", b"", b"", b"", second=b"/PieceInfo << /X << /Private (%s) >> >>" % found)

    return {
        "information": lambda s: page(b"<< /Title (%s) >>" % s, trailer=b"/Info 5 0 R"),
        "information, UTF-16": lambda s: page(
            b"<< /Author <FEFF%s> >>" % s.decode().encode("utf-16-be").hex().encode(), trailer=b"/Info 5 0 R"
        ),
        "XMP": lambda s: page(stream(xmp(s), b"/Type /Metadata /Subtype /XML"), catalog=b"/Metadata 5 0 R"),
        "attachment": attached,
        "annotation": note,
        "form field": field,
        "hidden layer": layer,
        "object stream": packed,
        "script": lambda s: page(b"<< /S /JavaScript /JS (var a = '%s') >>" % s, catalog=b"/OpenAction 5 0 R"),
        "bookmark": lambda s: page(
            b"<< /First 6 0 R /Last 6 0 R /Count 1 >>",
            b"<< /Title (%s) /Parent 5 0 R >>" % s,
            catalog=b"/Outlines 5 0 R",
        ),
        "earlier revision": earlier,
        "outside the page": beyond,
        "invisible text": unseen,
        "after the end": lambda s: page() + s,
        "page 2's private data": second,
    }


def pdf(
    more: list[bytes], catalog: bytes, entries: bytes, content: bytes, trailer: bytes, second: bytes = b""
) -> bytes:
    """A page with a line of text (two pages with `second`, which goes into the second's entries)."""
    font = b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> %s >>"
    shown = font % (b"/Properties << /Hidden 5 0 R >>" if b"/Hidden" in content else b"")
    sheet = b"/Type /Page /Parent 2 0 R /MediaBox [0 0 160 60] /Contents 4 0 R " + shown
    body = b"BT /F1 20 Tf 20 34 Td (Invoice 4471) Tj ET " + content
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R %s >>" % catalog,
        b"<< /Type /Pages /Kids [3 0 R%s] /Count %d >>" % (b" 5 0 R" if second else b"", 2 if second else 1),
        b"<< %s %s >>" % (sheet, entries),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(body), body),
        *([b"<< %s %s >>" % (sheet, second)] if second else more),
    ]
    out, starts = bytearray(b"%PDF-1.7\n"), []
    for number, each in enumerate(objects, 1):
        starts.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % start for start in starts)
    out += b"trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, table)
    return bytes(out)
