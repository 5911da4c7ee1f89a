#pragma once

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "cli/exit_code.h"
#include "cli/inputs.h"
#include "cli/progress.h"
#include "preprocess/frames.h"

namespace vitower {

// What a run over files tells its user: a line for each file, progress, and how it ended. Not thread-safe; `inputs`
// must outlive it.
class FileReport final {
 public:
  FileReport(const std::string& command, const InputList& inputs, bool quiet);

  void Done(size_t file_index, const GridThw& grid, int64_t tokens, double seconds);
  // A file that has no result; the others go on.
  void Refused(size_t file_index, const absl::Status& status);
  // The run cannot go on.
  ExitCode Stop(const absl::Status& status);
  // REQUIRES: every file was reported.
  ExitCode Finish();

 private:
  std::string NameOf(size_t file_index) const { return inputs_.files[file_index].path.string(); }

  const std::string command_;
  const InputList& inputs_;
  Progress progress_;
  size_t done_ = 0;
  size_t refused_ = 0;
  ExitCode code_ = ExitCode::kOk;
};

}  // namespace vitower
