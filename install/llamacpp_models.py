"""Models for llama.cpp: GGUF files of Hugging Face, by short names.

    python3 llamacpp_models.py pull MODEL FOLDER [CONFIG]   fetches it, or the rest of it
    python3 llamacpp_models.py find MODEL FOLDER            prints its file, and that of its eyes
    python3 llamacpp_models.py list FOLDER                  prints what there is, as JSON

MODEL is a name of NAMES, a repository (``user/repo`` or ``user/repo:Q4_K_M``), or a .gguf file
below FOLDER. Used by install/llamacpp.sh, func/llamacpp.py and run/run_llamacpp.py; standard
library only, Python 3.9+. CONFIG is OneGAI's config.json, whose ``hf_token`` opens repositories
that ask for one.

Exit status 2: there is no such model, said in the last line on stderr.
"""

import fcntl
import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import download

NAMES = {
    "12b": "ggml-org/gemma-4-12B-it-GGUF",
    "e4b": "ggml-org/gemma-4-E4B-it-GGUF",
    "e2b": "ggml-org/gemma-4-E2B-it-GGUF",
    "26b": "ggml-org/gemma-4-26B-A4B-it-GGUF",
}
"""Gemma 4 speaks Japanese, sees, and is under Apache-2.0. As Q4: about 7, 5, 3 and 15 GB."""
USUAL = ("Q4_K_M", "Q4_0", "Q8_0")
"""Which quantization is taken where none is asked for: the first of these, else any."""
EYES = ("F16", "BF16", "Q8_0", "F32")
REPOSITORY = re.compile(r"([\w.-]+/[\w.-]+?)(?::([\w-]+))?")
QUANTIZATION = re.compile(r"(?i)(?:^|[-._])((?:I?Q|TQ)\d\w*|BF16|F16|F32|MXFP4\w*|NVFP4)$")
PART = re.compile(r"-(\d{5})-of-(\d{5})$")
WAIT = 60.0


class Unknown(Exception):
    """There is no such model."""


def parsed(model):
    """Repository and quantization (empty: the usual one). Raises Unknown."""
    found = REPOSITORY.fullmatch(NAMES.get(model.lower(), model))
    if found is None or ".." in model:
        names = ", ".join(NAMES)
        raise Unknown(f"there is no model {model!r}: it is one of {names}, or user/repo:Q4_K_M")
    return found[1], found[2] or ""


def quantization(path):
    """Of a file, by its name; empty: unknown."""
    found = QUANTIZATION.search(stem(path))
    return found[1].upper() if found else ""


def stem(path):
    """The file's name without its suffix, and without the number of its part."""
    return PART.sub("", os.path.basename(path)[: -len(".gguf")])


def is_eyes(path):
    return os.path.basename(path).lower().startswith("mmproj")


def chosen(paths, quant):
    """The files of one model, in order, and its eyes, "" if it has none. Raises Unknown."""
    models, eyes = {}, {}
    for path in sorted(path for path in paths if path.lower().endswith(".gguf")):
        if is_eyes(path):
            eyes.setdefault(quantization(path), path)
        elif not re.match(r"(?i)(mtp|imatrix|draft)[-._]", os.path.basename(path)):
            models.setdefault((os.path.dirname(path), stem(path)), []).append(path)
    by_quant = {}
    for parts in models.values():
        by_quant.setdefault(quantization(parts[0]), parts)
    if not by_quant:
        raise Unknown("there are no .gguf files in it")
    if quant and quant.upper() not in by_quant:
        raise Unknown(f"it has no {quant}, but {', '.join(filter(None, by_quant))}")
    name = quant.upper() or next((one for one in USUAL if one in by_quant), next(iter(by_quant)))
    return by_quant[name], eyes[first(EYES, eyes)] if eyes else ""


def first(wanted, there):
    return next((one for one in wanted if one in there), next(iter(there)))


# --- what there is


def files_below(folder):
    """Whole .gguf files, as paths from ``folder``."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [os.path.relpath(os.path.join(place, name), folder) for name in sorted(names)]
    return [path for path in found if path.lower().endswith(".gguf")]


def find(model, folder):
    """The (first) file of a model that is there, and its eyes or "". Raises Unknown."""
    files = files_below(folder)
    for path in files:  # one by its own name
        if model in (path, path[: -len(".gguf")]) and not is_eyes(path):
            beside = [one for one in files if os.path.dirname(one) == os.path.dirname(path)]
            eyes = [one for one in beside if is_eyes(one)] if os.path.dirname(path) else []
            return path, eyes[0] if eyes else ""
    repository, quant = parsed(model)
    own = [path for path in files if path.startswith(repository + "/")]
    try:
        parts, eyes = chosen(own, quant)
    except Unknown:
        raise Unknown(f"{model} is not there") from None
    numbered = PART.search(parts[0][: -len(".gguf")])
    if numbered and len(parts) != int(numbered[2]):
        raise Unknown(f"{model} is not there whole")
    return parts[0], eyes


def listed(folder):
    """Each model that is there, and the names that can be pulled: name, file, gb, there."""
    found = {}
    for path in files_below(folder):
        if is_eyes(path):
            continue
        repository, _, file = path.rpartition("/")
        quant, size = quantization(path), os.path.getsize(os.path.join(folder, path))
        name = f"{repository}:{quant}" if repository.count("/") == 1 and quant else path
        entry = found.setdefault(name, {"name": name, "file": path, "gb": 0.0, "there": True})
        entry["gb"] = round(entry["gb"] + size / 1e9, 4)
    short = []
    for name, repository in NAMES.items():
        try:
            file = find(name, folder)[0]
        except Unknown:
            short.append({"name": name, "file": repository, "gb": None, "there": False})
        else:
            full = next(one for one in found.values() if one["file"] == file)
            short.append({**found.pop(full["name"]), "name": name})
    return [*(one for one in short if one["there"]), *found.values()] + [
        one for one in short if not one["there"]
    ]


# --- fetching


def pull(model, folder, token):
    """Fetch what of a model is not there. Raises Unknown, download.Final, OSError."""
    repository, quant = parsed(model)
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    about = asked(f"{hub}/api/models/{repository}?blobs=true", token, repository)
    sizes = {one["rfilename"]: one for one in about["siblings"]}
    try:
        parts, eyes = chosen(sizes, quant)
    except Unknown as error:
        raise Unknown(f"{repository}: {error}") from None
    wanted = [*parts, *([eyes] if eyes else [])]
    plan = [[path, sizes[path].get("size") or 0] for path in wanted]
    print("plan " + json.dumps(plan), flush=True)
    waiting = os.path.join(folder, ".downloads")
    os.makedirs(waiting, exist_ok=True)
    with open(os.path.join(waiting, "lock"), "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another model is being fetched: waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        for path in wanted:
            target = os.path.join(folder, repository, *path.split("/"))
            if ".." in path.split("/"):
                raise download.Final(f"it has a file {path!r}")
            print("file " + json.dumps(path), flush=True)
            url = f"{hub}/{repository}/resolve/{about['sha']}/{urllib.parse.quote(path)}"
            sha256 = (sizes[path].get("lfs") or {}).get("sha256", "")
            if not (os.path.isfile(target) and os.path.getsize(target) == sizes[path].get("size")):
                download.download(url, target, waiting, sha256, token)
    print("there " + json.dumps(f"{repository}/{parts[0]}"), flush=True)


def asked(url, token, repository):
    """What the hub tells of a repository. Raises Unknown, download.Final, OSError."""
    request = urllib.request.Request(url, headers={"User-Agent": "OneGAI"})
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=WAIT) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in (401, 403, 404):  # the hub does not tell one from the other
                raise Unknown(
                    f"Hugging Face has no {repository}, or wants hf_token of config.json for it"
                ) from None
            raise download.Final(f"Hugging Face answers {error.code} {error.reason}") from None
    except ValueError as error:
        raise download.Final(f"Hugging Face's answer is no JSON: {error}") from None


def token_of(config):
    """``hf_token`` of config.json, or of the environment."""
    try:
        with open(config, encoding="utf-8-sig") as file:
            return str(json.load(file).get("hf_token") or "") or os.environ.get("HF_TOKEN", "")
    except (OSError, ValueError, AttributeError):
        return os.environ.get("HF_TOKEN", "")


def main(command, *rest):
    if command == "pull":
        pull(rest[0], rest[1], token_of(rest[2] if len(rest) > 2 else ""))
    elif command == "find":
        print("\n".join(find(*rest)))
    else:
        print(json.dumps(listed(*rest)))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Unknown as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except (download.Final, OSError) as error:
        sys.exit(f"error: {error}")
