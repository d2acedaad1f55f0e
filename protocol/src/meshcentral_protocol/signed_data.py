"""The signature value inside a PKCS#7 SignedData structure, as Windows key store agents send it.

Only what is needed is walked (RFC 2315, section 9; DER, definite lengths). The content, the certificates and the
attributes are not used: the caller verifies the value over the bytes it expects.
"""

from __future__ import annotations

from meshcentral_protocol.errors import HandshakeError

_INTEGER, _OCTET_STRING, _OBJECT_IDENTIFIER, _SEQUENCE, _SET = 0x02, 0x04, 0x06, 0x30, 0x31
_CONTEXT_0, _CONTEXT_1, _CONTEXT_0_PRIMITIVE = 0xA0, 0xA1, 0x80
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")


def first_signature(data: bytes) -> bytes:
    """The signature value of the first signer. Raises HandshakeError."""
    content_info = _Reader(data).enter(_SEQUENCE)
    if content_info.take(_OBJECT_IDENTIFIER) != _SIGNED_DATA:
        raise HandshakeError("signature: not a PKCS#7 SignedData structure")
    signed_data = content_info.enter(_CONTEXT_0).enter(_SEQUENCE)
    signed_data.take(_INTEGER)
    signed_data.take(_SET)
    signed_data.take(_SEQUENCE)
    signed_data.take_optional(_CONTEXT_0)
    signed_data.take_optional(_CONTEXT_1)
    signer = signed_data.enter(_SET).enter(_SEQUENCE)
    signer.take(_INTEGER)
    if not signer.take_optional(_CONTEXT_0_PRIMITIVE):
        signer.take(_SEQUENCE)
    signer.take(_SEQUENCE)
    if signer.take_optional(_CONTEXT_0):
        # With attributes the value would sign those, not the nonces.
        raise HandshakeError("signature: PKCS#7 signed attributes are not supported")
    signer.take(_SEQUENCE)
    return signer.take(_OCTET_STRING)


class _Reader:
    """A bounds-checked cursor over DER elements."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def enter(self, tag: int) -> _Reader:
        """A reader over the content of the next element."""
        return _Reader(self.take(tag))

    def take(self, tag: int) -> bytes:
        """The content of the next element, which must have this tag."""
        if not self._at(tag):
            raise HandshakeError(f"signature: PKCS#7 element {tag:#04x} expected")
        length = self._length()
        end = self._position + length
        if end > len(self._data):
            raise HandshakeError("signature: PKCS#7 element is cut short")
        content = self._data[self._position : end]
        self._position = end
        return content

    def take_optional(self, tag: int) -> bool:
        """Pass over the next element if it has this tag."""
        if not self._at(tag):
            return False
        self.take(tag)
        return True

    def _at(self, tag: int) -> bool:
        return self._position < len(self._data) and self._data[self._position] == tag

    def _length(self) -> int:
        """Read tag and length, leaving the position at the content."""
        header = self._data[self._position + 1 : self._position + 6]
        if not header:
            raise HandshakeError("signature: PKCS#7 element is cut short")
        first = header[0]
        if first < 0x80:
            self._position += 2
            return first
        size = first & 0x7F
        if not 1 <= size <= 4 or len(header) <= size:
            raise HandshakeError("signature: PKCS#7 element has an unusable length")
        self._position += 2 + size
        return int.from_bytes(header[1 : 1 + size], "big")
