#pragma once

#include "absl/status/status.h"

namespace vitower {

// What the process tells its caller. Scripts rely on the numbers.
enum class ExitCode : int {
  kOk = 0,
  kFailure = 1,  // a server that cannot be reached, a file that cannot be written, accepted work that was dropped
  kUsage = 2,    // flags, environment or config file
  kRefused = 3,  // input that is not what it should be: an image, a checkpoint, a value the server refuses
};

inline constexpr char kExitCodesHelp[] =
    "Exit codes:\n"
    "  0  done\n"
    "  1  failure: server unreachable, file not writable, accepted work dropped\n"
    "  2  usage: flags, environment variables or config file\n"
    "  3  refused input: a bad image or checkpoint, a value the server refuses; what is good was still done";

// The worse of two outcomes of one run: a failure outweighs a refusal.
ExitCode Worse(ExitCode a, ExitCode b);

// How a status of the model, the preprocessing or a server ends a run.
ExitCode ExitCodeOf(const absl::Status& status);

}  // namespace vitower
