"""Settings: the fields of configurations, checks of their values, and the error for a wrong one."""

from iddpm_tf.settings.errors import InputError
from iddpm_tf.settings.errors import first_line
from iddpm_tf.settings.errors import renamed
from iddpm_tf.settings.fields import MAX_SEED
from iddpm_tf.settings.fields import by_name
from iddpm_tf.settings.fields import changed
from iddpm_tf.settings.fields import choices_of
from iddpm_tf.settings.fields import convert
from iddpm_tf.settings.fields import recorded
from iddpm_tf.settings.fields import require
from iddpm_tf.settings.fields import require_choices
from iddpm_tf.settings.fields import require_count
from iddpm_tf.settings.fields import require_local
from iddpm_tf.settings.fields import require_not_negative
from iddpm_tf.settings.fields import require_positive
from iddpm_tf.settings.fields import require_seed
from iddpm_tf.settings.fields import required
from iddpm_tf.settings.fields import setting
from iddpm_tf.settings.fields import shown

__all__ = [
  "MAX_SEED",
  "InputError",
  "by_name",
  "changed",
  "choices_of",
  "convert",
  "first_line",
  "recorded",
  "renamed",
  "require",
  "require_choices",
  "require_count",
  "require_local",
  "require_not_negative",
  "require_positive",
  "require_seed",
  "required",
  "setting",
  "shown",
]
