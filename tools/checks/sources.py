# SPDX-License-Identifier: Apache-2.0
"""What the checks share: which files belong to the project, and C++ without comments."""
import re
import subprocess

CPP = {".hpp", ".cpp", ".h", ".c", ".S"}

TOKEN = re.compile(
    r'//[^\n]*'
    r'|/\*.*?\*/'
    r'|R"(?P<tag>[^()\s]{0,16})\(.*?\)(?P=tag)"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'", re.S)


def project_files(root):
    """Paths of all files git knows or would add, as pathlib paths relative to `root`."""
    out = subprocess.run(
        ["git", "-C", str(root), "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others",
         "--exclude-standard"], check=True, capture_output=True, text=True)
    paths = sorted({root / name for name in out.stdout.split("\0") if name})
    return [path for path in paths if path.is_file()]


def blank_text(match):
    """Spaces of the same shape, so that line numbers and columns stay."""
    return re.sub(r"[^\n]", " ", match.group(0))


def code_only(text):
    """The text with comments, strings and character constants blanked."""
    return TOKEN.sub(blank_text, text)
