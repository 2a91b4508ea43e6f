"""Small vocabularies of every kind, learned from the benchmark's corpus, always the same.

The algorithms are a few lines of Python each, so that no library's version decides what
comes out: byte-pair merges, from which WordPiece and Unigram pieces are taken as well.
"""

import base64
import functools
import re
import unicodedata
import zlib
from collections import Counter, defaultdict
from itertools import pairwise

from parity_texts import CORPUS

SPACE = "\u2581"  # the mark of a space in SentencePiece's vocabularies
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


@functools.cache
def byte_letters():
    """The letter that stands for each byte in byte-level vocabularies."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {byte: chr(byte) for byte in plain}
    return letters | {byte: chr(256 + n) for n, byte in enumerate(others)}


def learn_merges(words, n_merges):
    """Byte-pair merges of counted words.

    Parameters
    ----------
    words : dict of str to int
    n_merges : int

    Returns
    -------
    list of (str, str)
    """
    split = [(tuple(word), n) for word, n in words.items()]
    pairs, places = Counter(), defaultdict(set)
    for at, (symbols, n) in enumerate(split):
        for pair in pairwise(symbols):
            pairs[pair] += n
            places[pair].add(at)
    merges = []
    while len(merges) < n_merges and pairs:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for at in sorted(places[best]):
            symbols, n = split[at]
            for pair in pairwise(symbols):
                pairs[pair] -= n
                places[pair].discard(at)
            split[at] = symbols, n = _merged(symbols, best), n
            for pair in pairwise(symbols):
                pairs[pair] += n
                places[pair].add(at)
        pairs = +pairs  # those that are gone
    return merges


def _merged(symbols, pair):
    made, at = [], 0
    while at < len(symbols):
        if symbols[at : at + 2] == pair:
            made.append(symbols[at] + symbols[at + 1])
            at += 2
        else:
            made.append(symbols[at])
            at += 1
    return tuple(made)


# Words as several pre-tokenizers cut them, so that a wrong one is seen in the ids.
CUTS = [
    r" ?[^\W\d_]+|'[^\W\d_]+| ?\d+| ?[^\s\w]+|\s+",
    r"[^\w\r\n]?[^\W\d_]+|\d{1,3}| ?[^\s\w]+[\r\n]*|\s*[\r\n]+|\s+",
]
WHITE = ["  ", "    ", "\n\n", "\t", ".\n", "\r\n", " \n", ",\n", ":\n    "] * 40


@functools.cache
def byte_level(n_merges=700):
    """Letters and merges of a byte-level vocabulary."""
    letters = byte_letters()
    words = Counter()
    for cut in CUTS:
        for line in CORPUS:
            for word in re.findall(cut, line) + WHITE[:1]:
                words["".join(letters[b] for b in word.encode())] += 1
    for white in WHITE:
        words["".join(letters[b] for b in white.encode())] += 1
    return sorted(letters.values()), learn_merges(words, n_merges)


@functools.cache
def end_of_word(n_merges=500):
    """Letters and merges of CLIP's kind, where a word's end is marked."""
    letters = byte_letters()
    words = Counter()
    for line in CORPUS:
        for word in re.findall(r"'[a-z]+|[^\W\d_]+|\d|[^\s\w]+", line.lower()):
            spelled = [letters[b] for b in word.encode()]
            words[(*spelled[:-1], spelled[-1] + "</w>")] += 1
    start = sorted(letters.values())
    return start + [x + "</w>" for x in start], learn_merges(words, n_merges)


@functools.cache
def metaspace(n_merges=700):
    """Characters and merges of SentencePiece's kind of words; digits stay alone."""
    words = Counter()
    for line in CORPUS:
        for word in line.split(" "):
            for part in re.findall(r"\d|[^\d]+", SPACE + word):
                words[part] += 1
    for n in (2, 4, 8):
        words[SPACE * n] += 40
    characters = sorted({c for word in words for c in word})
    return characters, learn_merges(words, n_merges)


@functools.cache
def wordpieces(lowercase, n_merges=700):
    """Pieces of a WordPiece vocabulary without its special tokens."""
    words = Counter()
    for line in CORPUS:
        if lowercase:
            line = unicodedata.normalize("NFD", line.lower())
            line = "".join(c for c in line if unicodedata.category(c) != "Mn")
        words.update(re.findall(r"\w+|[^\w\s]", line))
    characters = sorted({c for word in words for c in word})
    pieces = characters + [a + b for a, b in learn_merges(words, n_merges)]
    return list(dict.fromkeys(pieces + ["##" + piece for piece in pieces]))


@functools.cache
def unigrams(n_merges=700):
    """(piece, score) of a Unigram vocabulary without its special tokens."""
    words = Counter()
    for line in CORPUS:
        words.update(SPACE + word for word in line.split())
    characters = sorted({c for word in words for c in word})
    merges = learn_merges(words, n_merges)
    longer = [(a + b, -3 - n / 100) for n, (a, b) in enumerate(merges)]
    letters = [(c, -11 - n / 1000) for n, c in enumerate(characters)]
    return sorted(dict(letters + longer).items(), key=lambda pair: -pair[1])


def merged_vocabulary(start, merges):
    """Letters and what is merged of them, each once, in order."""
    return list(dict.fromkeys([*start, *(a + b for a, b in merges)]))


# --- SentencePiece's own format --------------------------------------------------------

# What SentencePiece's rule nmt_nfkc makes of the characters that the probes hold,
# compiled by SentencePiece itself (the whole rule would be 240 kB).
CHARSMAP = """
c-lpk3vgA%8OMM3oSO_NSarllEmjl+w22}QO$!PL7Sy09C?F`Ppg?#E7EqXT?@h=}xOtHT%nOo0Ou{3)
0wf^;aqscs^fF32PNf#xXc>ogXl3fOr32IcH#pPG{pJ7d?zg+&?tZ(6UclYZyEj~yg8lRQ^oPE8Kyrq|
UsX=7a`>C{lK5WyOZ-RtBY>ALyg3k>2VoHrp(RkP`Yj@?aidcqHU{$LcUApjlQnjk18Q%)0IoDu-0R@=
mR5_KWGAy6`pEu~xLMSTe&Vu7wz*s{pC;MSOpU)98XMqtm1E;H=UQl$-D2abP)zd`pW=#0LyE^+C|eqy
DLoxv@*aoKVL6NBScf}hPN{ZycC^b~vd8st7$ALOw8KE@#N`fy?Of*r{8u`&)n!)HC8=?|iJC+4gjZ;6
%^4d29rF25yl|sSRO_Ffl&@XCHss?#PdFrF0q(bTnE}$IOK*f_GvFcF^IG9I(%1h4!=>}p_JuUX?$c)h
*4`ap-M>?LK;>97j8fZIVz|nGmWD!#N4&jX>(j=p9vk3W)!(M}P`Qhj=Mt%N3GbDC&LwnGwup$N)*6-1
MSI@T=oy!o{4-P@ZO3kRd0aZ)p7#N_XE7lWRvtzAY5jd+qS_{jf7<i1b;^bOo3!TTE(NM96&2!XyYKdV
KXaKXohAk=#+Rhq#VxXD1+L{}a;M82d%oJ|kj^`-oQ;UNs%x-&C9c@{GT;XF+bw&6J+m}=`W}^i!0x?`
I}{+47oagmV_Xf8W!H7-TCy#ZtP~&ZPa*cX_D;5cB?ZUswelr&Ru!s`TnG?8BU^bDQVxa{Q$)m+W6_fV
x@_E6w3lj&oeN-8{?wlLdY#Dxhfid$vE}|6Q+W~YhQHf6&%wK@|9VIY-+Y(ChHKM#3fcS8u0QjK`}f0q
y=+bpq)~xBC_Ae8v+dbUhi<!m<>Mo&&z1et9$)2t?`!+_7uDUVy6>d5{eq0pRT(AH#SrnRy}yItgwFK0
vhNZftcQA)J^k(z2NlmD<-a#Qh!=D?u5#fJhfZmi?naT`nUB=mv^q%h3i;@rsn^}DD~H;XigmU_qa8==
(S7qqYJFq=pHJDE>#*8(i579}dxw%!4k!GeR-&^!7bJ2vNLQ}_onL6~i$U#%-WZ|h&bv-*x*VjBH1AT7
8>G5U-p%3`ajUpp{8;=%+#?2x$HZ7MUQ7^Aib>)r@r;-vo)gcDY2rnp>+8)Dv&Ac7u6RwnAr^?Y#3GR;
mWt(KrC2525o^Rc@t)WqB0?$Z<=WWoIz)je5+$Nkghr<7Ax$NcmP&Y7D%w_WtI#v(Rf!rA?VHMW?E9Tc
=(Izf9lP5he8C|{ntj<J_YRkh=N<Bf>dp^v*_7duFD+0xCM{BXp|qs0L-9P9(uEG2r#h6ccPSHFm$+;Z
6?0tP7gcF4m7->hOSRZ8dz+}!ds8cRTy&`y4Od-uibmNVh-S4liQV$uCHAWC9<fh$i#VXM_lrZC>!3KS
xm(3i*+)dX+S<f1`F4md_3acV`nwz#JG6GCpVuZjM5j0|J`}!4h)=|?#cBIJ)LZ?j^o;mi{7#$|UkY7S
?~g)P*ZW4C7vBnf=DgplpM3a(kRM+O`BK&e<(g=V2Hz?zR=Gq6vRRZiXs`4Z)Tn-&+Vwr=eU&RTaOFj)
l4kn>a@4+2?YTDK4BclD9_kPo<Pej8f$9s@UL=jGoTq;I>c8o{{rnH$9`0ozgSd~u3}Gnu^8i01jdaq}
(|M4G7{;)#L)j1a{2#%?3}<+cHG+|h;t?JtgP-#YMl*)Tc$~3}V?0kVfr&iHFPX$-p5keqA(JUQ%X3WS
d0t=|(=wUPi@d}PW-^PHnavzt;Z^1`kJoseH<-@?7TDiHk%g5k-sCM7vWUejev>Sgu#{yiX9X*Hn^mml
9e%|c*0PRwd5`sMz<8JtCX9(-vN1WBTuc;`hsnom!o)BIm_keurUbJYQ;I3Wlw-DFDlnCpDoiz|22+cv
!_;GTV0K~}FpZcdOfzN|W;bRJW-q1%vk!9sa}aX~(~3EaIf7}&bYPBQIx$_C6T~+X&m|ruo<}@JynuKm
@haj?#GCOW_}Tb5_#5$a@uT>a_*MAT_%-<3@VDdF;@9Cf;mf}Te;@u4{G<47`0e-|_+9wNNfeMMBvC}7
m_!MQ%_K@ml#ys7(axzRPBqirQ7lSCh3FJrbRRn?4v99=&i??X9MGK
""".replace("\n", "")


def charsmap():
    """The compiled rules, as bytes."""
    return zlib.decompress(base64.b85decode(CHARSMAP))


def charsmap_base64():
    """The compiled rules as ``tokenizer.json`` holds them."""
    return base64.b64encode(charsmap()).decode()


KINDS = {"normal": 1, "unknown": 2, "control": 3, "user": 4, "byte": 6}


def sentencepiece_model(pieces, *, bpe, fold, byte_fallback=False, dummy_prefix=True):
    """A SentencePiece model file (a protocol buffer) with these pieces.

    Parameters
    ----------
    pieces : list of (str, float, str)
        Piece, score and kind, in the order of their ids.
    bpe : bool
        Else Unigram.
    fold : bool
        Whether characters are folded by `charsmap`.
    byte_fallback, dummy_prefix : bool
    """
    model = b""
    for piece, score, kind in pieces:
        entry = _bytes(1, piece.encode()) + _float(2, score)
        model += _bytes(1, entry + (_int(3, KINDS[kind]) if kind != "normal" else b""))
    trainer = _int(3, 2 if bpe else 1) + _int(4, len(pieces)) + _int(35, byte_fallback)
    ids = {piece: n for n, (piece, _, _) in enumerate(pieces)}
    unknown = next(piece for piece, _, kind in pieces if kind == "unknown")
    named = [[unknown], ["<s>", "<bos>", "[CLS]"], ["</s>", "<eos>", "[SEP]"]]
    named += [["<pad>", "[PAD]"]]
    for field, names in enumerate(named, start=40):
        found = [ids[name] for name in names if name in ids]
        trainer += _int(field, found[0] if found else -1)
    trainer += _bytes(45, unknown.encode())
    normalizer = _bytes(1, b"nmt_nfkc" if fold else b"identity")
    if fold:
        normalizer += _bytes(2, charsmap())
    normalizer += _int(3, dummy_prefix) + _int(4, fold) + _int(5, 1)
    return model + _bytes(2, trainer) + _bytes(3, normalizer)


def _varint(number):
    number &= (1 << 64) - 1
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes([*made, number])


def _int(field, number):
    return _varint(field << 3) + _varint(int(number))


def _bytes(field, content):
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _float(field, number):
    import struct

    return _varint(field << 3 | 5) + struct.pack("<f", number)
