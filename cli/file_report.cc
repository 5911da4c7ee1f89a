#include "cli/file_report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vitower {

FileReport::FileReport(const std::string& command, const InputList& inputs, bool quiet)
    : command_(command), inputs_(inputs), progress_(command, inputs.files.size(), ChooseProgressStyle(quiet, stderr)) {}

void FileReport::Done(size_t file_index, const GridThw& grid, int64_t tokens, double seconds) {
  ++done_;
  progress_.Result(absl::StrFormat("%s  grid %dx%dx%d  %d tokens  %.1f ms", NameOf(file_index), grid.t, grid.h, grid.w,
                                   tokens, seconds * 1e3));
  progress_.Advance();
}

void FileReport::Refused(size_t file_index, const absl::Status& status) {
  ++refused_;
  code_ = Worse(code_, ExitCodeOf(status));
  progress_.Problem(absl::StrCat("vitower ", command_, ": ", NameOf(file_index), ": ", std::string(status.message())));
  progress_.Advance();
}

ExitCode FileReport::Stop(const absl::Status& status) {
  progress_.Problem(absl::StrCat("vitower ", command_, ": stopped after ", done_, " of ", inputs_.files.size(),
                                 " files: ", std::string(status.message())));
  return Worse(code_, ExitCodeOf(status));
}

ExitCode FileReport::Finish() {
  if (refused_ > 0) {
    progress_.Problem(absl::StrCat("vitower ", command_, ": ", refused_, " of ", inputs_.files.size(),
                                   " files have no result, ", done_, " are done"));
  }
  return code_;
}

}  // namespace vitower
