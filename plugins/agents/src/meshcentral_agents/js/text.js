/* Text between the agent and the server.
 *
 * The agent's engine keeps strings as raw bytes: a supplementary character that came from a \u escape is held as two
 * surrogates and would leave as invalid UTF-8, which ends the connection. So everything is sent as ASCII JSON, output
 * of programs is decoded here, and text for the operating system is turned into real UTF-8.
 */
'use strict';

var REPLACEMENT = 0xFFFD;
var SLICE = 4096; // characters per String.fromCharCode call; bounded by the engine's argument stack

function hex4(code) {
    return '\\u' + ('0000' + code.toString(16)).slice(-4);
}

/** One character code as a JSON escape; the engine may hold a supplementary character as a single code. */
function escapeCode(code) {
    if (code <= 0xFFFF) { return hex4(code); }
    code -= 0x10000;
    return hex4(0xD800 + (code >> 10)) + hex4(0xDC00 + (code & 0x3FF));
}

/** JSON text of a value, in ASCII only. */
function encodeJson(value) {
    var json = JSON.stringify(value);
    var parts = [], start = 0, i, code;
    for (i = 0; i < json.length; i++) {
        code = json.charCodeAt(i);
        if (code < 0x7F) { continue; }
        if (i > start) { parts.push(json.substring(start, i)); }
        parts.push(escapeCode(code));
        start = i + 1;
    }
    if (start === 0) { return json; }
    parts.push(json.substring(start));
    return parts.join('');
}

/** Length of the well-formed UTF-8 sequence at `at`, 0 if there is none (RFC 3629, section 4). */
function sequenceLength(bytes, at) {
    var first = bytes[at], length, lowest = 0x80, highest = 0xBF, i;
    if (first < 0x80) { return 1; }
    if (first >= 0xC2 && first <= 0xDF) {
        length = 2;
    } else if (first >= 0xE0 && first <= 0xEF) {
        length = 3;
        if (first === 0xE0) { lowest = 0xA0; }
        if (first === 0xED) { highest = 0x9F; }
    } else if (first >= 0xF0 && first <= 0xF4) {
        length = 4;
        if (first === 0xF0) { lowest = 0x90; }
        if (first === 0xF4) { highest = 0x8F; }
    } else {
        return 0;
    }
    if (at + length > bytes.length || bytes[at + 1] < lowest || bytes[at + 1] > highest) { return 0; }
    for (i = at + 2; i < at + length; i++) {
        if (bytes[i] < 0x80 || bytes[i] > 0xBF) { return 0; }
    }
    return length;
}

function codePoint(bytes, at, length) {
    switch (length) {
        case 1: return bytes[at];
        case 2: return ((bytes[at] & 0x1F) << 6) | (bytes[at + 1] & 0x3F);
        case 3: return ((bytes[at] & 0x0F) << 12) | ((bytes[at + 1] & 0x3F) << 6) | (bytes[at + 2] & 0x3F);
        default:
            return ((bytes[at] & 0x07) << 18) | ((bytes[at + 1] & 0x3F) << 12) |
                ((bytes[at + 2] & 0x3F) << 6) | (bytes[at + 3] & 0x3F);
    }
}

/** Text of a program's output: UTF-8, with U+FFFD for every byte that is not. */
function decode(bytes) {
    var parts = [], codes = [], at = 0, length, point;
    while (at < bytes.length) {
        length = sequenceLength(bytes, at);
        point = length === 0 ? REPLACEMENT : codePoint(bytes, at, length);
        at += length === 0 ? 1 : length;
        if (point > 0xFFFF) {
            point -= 0x10000;
            codes.push(0xD800 + (point >> 10), 0xDC00 + (point & 0x3FF));
        } else {
            codes.push(point);
        }
        if (codes.length >= SLICE) {
            parts.push(String.fromCharCode.apply(null, codes));
            codes = [];
        }
    }
    parts.push(String.fromCharCode.apply(null, codes));
    return parts.join('');
}

function hexByte(value) {
    return ('0' + value.toString(16)).slice(-2);
}

function utf8Hex(point) {
    if (point < 0x80) { return hexByte(point); }
    if (point < 0x800) { return hexByte(0xC0 | (point >> 6)) + hexByte(0x80 | (point & 0x3F)); }
    if (point < 0x10000) {
        return hexByte(0xE0 | (point >> 12)) + hexByte(0x80 | ((point >> 6) & 0x3F)) + hexByte(0x80 | (point & 0x3F));
    }
    return hexByte(0xF0 | (point >> 18)) + hexByte(0x80 | ((point >> 12) & 0x3F)) +
        hexByte(0x80 | ((point >> 6) & 0x3F)) + hexByte(0x80 | (point & 0x3F));
}

/** UTF-8 bytes of a text; a lone surrogate becomes U+FFFD. */
function encode(text) {
    var hex = [], i, code, next;
    for (i = 0; i < text.length; i++) {
        code = text.charCodeAt(i);
        if (code >= 0xD800 && code <= 0xDFFF) {
            next = code < 0xDC00 && i + 1 < text.length ? text.charCodeAt(i + 1) : 0;
            if (next >= 0xDC00 && next <= 0xDFFF) {
                code = 0x10000 + ((code - 0xD800) << 10) + (next - 0xDC00);
                i++;
            } else {
                code = REPLACEMENT;
            }
        }
        hex.push(utf8Hex(code));
    }
    return Buffer.from(hex.join(''), 'hex');
}

/** The same text in the form that the operating system gets as well-formed UTF-8. */
function native(text) {
    return encode(text).toString();
}

module.exports = { encodeJson: encodeJson, decode: decode, encode: encode, native: native };
