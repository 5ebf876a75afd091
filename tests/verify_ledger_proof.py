#!/usr/bin/env python3
"""Checks a proof of MastraAdmin's ledger with nothing of MastraAdmin: Python's own library and openssl.

    verify_ledger_proof.py PROOF.json LEDGER.pub

The format is that of docs/ledger.md. Exits 0 and says what is proven, or fails.
"""
import base64, hashlib, json, os, subprocess, sys, tempfile

SPKI = bytes.fromhex("302a300506032b6570032100")  # what PKIX has before the 32 bytes of an Ed25519 key


def signed_by(note, vkey):
    """The text of a signed note, when `vkey` (NAME+HASH+BASE64) has signed it."""
    name, key_hash, key = vkey.strip().split("+", 2)
    text, signature = note.split("\n\n", 1)
    text += "\n"
    dash, signer, signature = signature.strip().split(" ")
    signature, key = base64.b64decode(signature), base64.b64decode(key)
    if dash != "\u2014" or signer != name or text.split("\n")[0] != name or signature[:4].hex() != key_hash:
        return None
    assert hashlib.sha256(name.encode() + b"\n" + key).digest()[:4].hex() == key_hash and key[0] == 1
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, part) for part in ("key", "text", "signature")]
        for path, content in zip(paths, (SPKI + key[1:], text.encode(), signature[4:])):
            with open(path, "wb") as file:
                file.write(content)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin"]
        command += ["-inkey", paths[0], "-in", paths[1], "-sigfile", paths[2]]
        good = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    return text if good else None


def root_of(index, size, leaf, path):
    """RFC 9162, 2.1.3.2."""
    node, last, found = index, size - 1, leaf
    for sibling in path:
        assert last > 0, "the path is too long"
        if node & 1 or node == last:
            found = hashlib.sha256(b"\x01" + sibling + found).digest()
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\x01" + found + sibling).digest()
        node, last = node >> 1, last >> 1
    assert last == 0, "the path is too short"
    return found


proof = json.load(open(sys.argv[1], encoding="utf-8"))
keys = [line for line in open(sys.argv[2], encoding="utf-8") if line.strip()]
assert proof["format"] == "mastra-admin/ledger-proof/1"
for rotation in proof["rotations"]:
    text = next(filter(None, (signed_by(rotation, key) for key in keys)), "")
    keys += [line[len("next-key "):] for line in text.split("\n") if line.startswith("next-key ")]
text = next(filter(None, (signed_by(proof["checkpoint"], key) for key in keys)), None)
assert text, "the checkpoint was not signed by this key"
_, size, root = text.split("\n")[:3]
data = b""
for field in proof["leaf"]:
    data += b"\xff" * 4 if field is None else len(field.encode()).to_bytes(4, "big") + field.encode()
leaf = hashlib.sha256(b"\x00" + data).digest()
path = [base64.b64decode(sibling, validate=True) for sibling in proof["path"]]
index = int(proof["leaf"][0]) - 1
assert 0 <= index < int(size) and len(proof["leaf"]) == 11
assert root_of(index, int(size), leaf, path) == base64.b64decode(root), "the event is not the one that was signed"
print(f"proven: {proof['leaf'][7]} at position {proof['leaf'][0]}")
