"""RSA keys that depend on the seed alone, so that the same seed signs the same bytes.

They protect nothing: whoever knows the seed knows the key. Never use them outside of the
simulator.
"""

import functools
import random

from cryptography.hazmat.primitives.asymmetric import rsa

_EXPONENT = 65_537
_HALF_BITS = 1_024
_ROUNDS = 8
_SMALL = tuple(n for n in range(3, 8_000, 2) if all(n % d for d in range(3, int(n**0.5) + 1, 2)))


@functools.lru_cache(maxsize=64)
def derive_key(seed: str) -> rsa.RSAPrivateKey:
    """Return the 2048-bit key of a seed."""
    rng = random.Random(f"{seed}/rsa")
    p = _prime(rng)
    q = _prime(rng)
    if p < q:
        p, q = q, p
    d = pow(_EXPONENT, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(_EXPONENT, p * q)
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=d % (p - 1),
        dmq1=d % (q - 1),
        iqmp=pow(q, -1, p),
        public_numbers=public,
    )
    return numbers.private_key()


def _prime(rng: random.Random) -> int:
    """Return a prime whose two highest bits are set and that suits the exponent."""
    while True:
        candidate = rng.getrandbits(_HALF_BITS) | 3 << (_HALF_BITS - 2) | 1
        if any(candidate % n == 0 for n in _SMALL) or candidate % _EXPONENT == 1:
            continue
        if _is_prime(candidate, rng):
            return candidate


def _is_prime(candidate: int, rng: random.Random) -> bool:
    """Miller and Rabin's test: a random composite of this size hardly ever passes."""
    odd, twos = candidate - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(_ROUNDS):
        x = pow(rng.randrange(2, candidate - 1), odd, candidate)
        if x in {1, candidate - 1}:
            continue
        for _ in range(twos - 1):
            x = x * x % candidate
            if x == candidate - 1:
                break
        else:
            return False
    return True
