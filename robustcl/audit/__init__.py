"""The audit of a robustness number: could the attack have failed for another reason than a robust model?"""

from robustcl.audit.runner import audit
from robustcl.audit.values import QUESTIONS, Audit, Finding, Verdict, as_json

__all__ = ["QUESTIONS", "Audit", "Finding", "Verdict", "as_json", "audit"]
