"""Runs pip-audit, and says so when no service answers instead of passing silently.

The vulnerability database changes every day, so a finding is printed but doesn't stop a
change that has nothing to do with it. With ``AUDIT_REQUIRED=1``, as before a release, the
exit status is 1 for findings and also if no service answers.
"""

import json
import os
import subprocess
import sys

# Vulnerabilities that can't be used here, by their ids, each with the reason.
IGNORED: dict[str, str] = {}
SECONDS = 120
REQUIRED = os.environ.get("AUDIT_REQUIRED") == "1"


def main():
    """Look up all installed packages; return the exit status."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--skip-editable"]
    command += ["--progress-spinner", "off", "--timeout", "15"]
    for name in IGNORED:
        command += ["--ignore-vuln", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return _not_run(f"no answer from the service within {SECONDS} s")
    except (ValueError, LookupError):
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        return _not_run(f"no answer from the service ({lines[-1][:200]})")
    looked_up = [one for one in packages if "vulns" in one]
    if not looked_up:
        return _not_run("the service knew none of the packages")
    found = [(one, vuln) for one in looked_up for vuln in one["vulns"]]
    for one, vuln in found:
        fixed = ", ".join(vuln["fix_versions"]) or "no version yet"
        print(f"{one['name']} {one['version']}: {vuln['id']}, fixed in {fixed}")
    print(
        f"pip-audit: {len(looked_up)} packages looked up, {len(found)} findings, "
        f"{len(packages) - len(looked_up)} packages unknown to the service"
    )
    return 1 if found and REQUIRED else 0


def _not_run(reason):
    print(f"pip-audit: not run: {reason}", file=sys.stderr)
    return 1 if REQUIRED else 0


if __name__ == "__main__":
    sys.exit(main())
