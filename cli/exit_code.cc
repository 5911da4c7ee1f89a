#include "cli/exit_code.h"

namespace vitower {

ExitCode Worse(ExitCode a, ExitCode b) {
  if (a == ExitCode::kOk) return b;
  if (b == ExitCode::kOk) return a;
  return a < b ? a : b;
}

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kDataLoss:
      return ExitCode::kRefused;
    default:
      return ExitCode::kFailure;
  }
}

}  // namespace vitower
