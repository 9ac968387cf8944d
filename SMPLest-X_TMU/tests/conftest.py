"""The suites of `shared_tmu/tests` report failed assertions in full, as tests do."""

import pytest

pytest.register_assert_rewrite("suites")
