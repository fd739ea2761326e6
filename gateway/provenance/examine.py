"""A process of its own that opens one file of anybody's: `python -m gateway.provenance.examine`, a request on its
standard input, what was found on its standard output, both JSON. Whatever the file does to it, it does to it alone."""

from __future__ import annotations

import io
import json
import resource
import sys
from pathlib import Path
from typing import Any

from gateway.phash import picture_hash, structured, written
from gateway.pictures import CONTENT_TYPES, NotAPicture
from gateway.provenance.certificates import TRIAL
from gateway.provenance.kinds import TEXT, UNKNOWN, kind_of
from gateway.provenance.marks import marks

MEMORY = 2 << 30  # bytes of address space
CPU_SECONDS = 20
READ = ("image/png", "image/jpeg", "image/webp", "image/gif", "audio/wav", "audio/mpeg", "audio/flac")


def main() -> int:
    """Examine one file."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    request = json.load(sys.stdin)
    json.dump(examine(Path(request["path"]).read_bytes(), request["anchors"], request["serial"]), sys.stdout)
    return 0


def examine(data: bytes, anchors: str, serial: str) -> dict[str, Any]:
    """Type, C2PA, marks and perceptual hash of a file.

    `anchors` in PEM: whom to trust; `serial`: of the certificate of this gateway, if it has one.
    """
    kind = kind_of(data)
    found: dict[str, Any] = {
        "content_type": kind,
        "c2pa": _c2pa(data, kind, anchors, serial),
        "marks": marks(data, kind),
    }
    found["phash"], found["problem"] = None, "it is of no type that is known here" if kind == UNKNOWN else None
    if kind in CONTENT_TYPES:
        try:
            value = picture_hash(data)
            found["phash"] = written(value) if structured(value) else None
        except NotAPicture as error:
            found["problem"] = str(error)
    return found


def _c2pa(data: bytes, kind: str, anchors: str, serial: str) -> dict[str, Any]:
    if kind not in READ:
        return {"state": "absent" if kind == TEXT else "not_supported"}
    import c2pa

    trust = {"trust": {"user_anchors": anchors}} if anchors else {}
    verify = {"remote_manifest_fetch": False, "ocsp_fetch": False}
    try:
        context = c2pa.Context.from_dict({**trust, "verify": verify})
        reader = c2pa.Reader.try_create(kind, io.BytesIO(data), context=context)
        if reader is None:
            return {"state": "absent"}
        with reader:
            return _said(json.loads(reader.json()), str(reader.get_validation_state()), serial)
    except c2pa.C2paError as error:
        return {"state": "invalid", "problems": [str(error)[:200]]}


def _said(document: dict[str, Any], state: str, serial: str) -> dict[str, Any]:
    """What the newest manifest says, and whether it holds."""
    manifest = document["manifests"].get(document.get("active_manifest"), {})
    signature = manifest.get("signature_info") or {}
    self_made = any(TRIAL in str(signature.get(name, "")) for name in ("common_name", "issuer"))
    ours = state == "Trusted" and bool(serial) and str(signature.get("cert_serial_number")) == serial
    by_label = {one.get("label", ""): one.get("data") for one in manifest.get("assertions", [])}
    receipt, actions = by_label.get("atelier.receipt"), []
    for label, data in by_label.items():
        if label.startswith("c2pa.actions") and isinstance(data, dict):
            actions += [one for one in data.get("actions", []) if isinstance(one, dict)]
    results = (document.get("validation_results") or {}).get("activeManifest") or {}
    return {
        # Nobody vouches for a certificate for trials, also where this gateway is the one that has it.
        "state": "valid" if state == "Trusted" and self_made else state.lower(),
        "problems": sorted({str(one.get("code")) for one in results.get("failure", [])}),
        "issuer": signature.get("issuer"),
        "subject": signature.get("common_name"),
        "self_made": self_made,
        "by_this_gateway": ours,
        "claim_generator": next((one.get("name") for one in manifest.get("claim_generator_info") or []), None),
        "generated_at": signature.get("time"),
        "digital_source_types": sorted(
            {str(one["digitalSourceType"]) for one in actions if "digitalSourceType" in one}
        ),
        "parents": len(manifest.get("ingredients") or []),
        "made": receipt if isinstance(receipt, dict) else None,
    }


if __name__ == "__main__":
    sys.exit(main())
