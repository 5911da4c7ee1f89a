#include "cli/progress.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace vitower {
namespace {

constexpr size_t kBarWidth = 30;
constexpr size_t kFewFiles = 20;  // runs of fewer files need no progress lines: their result lines are enough

void Write(std::FILE* stream, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stream);
  std::fflush(stream);
}

}  // namespace

ProgressStyle ChooseProgressStyle(bool quiet, std::FILE* stream) {
  if (quiet) return ProgressStyle::kQuiet;
  return isatty(fileno(stream)) == 1 ? ProgressStyle::kBar : ProgressStyle::kLines;
}

Progress::Progress(std::string what, size_t total, ProgressStyle style, std::FILE* out, std::FILE* err)
    : what_(std::move(what)), total_(total), style_(style), out_(out), err_(err) {
  Draw();
}

Progress::~Progress() { Erase(); }

void Progress::Advance() {
  ++done_;
  Draw();
  const bool new_tenth = total_ > 0 && done_ * 10 / total_ != (done_ - 1) * 10 / total_;
  if (style_ == ProgressStyle::kLines && total_ >= kFewFiles && new_tenth) {
    Write(err_, absl::StrCat(what_, ": ", done_, " of ", total_, " files\n"));
  }
}

void Progress::Result(std::string_view line) {
  if (style_ != ProgressStyle::kQuiet) Print(out_, line);
}

void Progress::Problem(std::string_view line) { Print(err_, line); }

void Progress::Print(std::FILE* stream, std::string_view line) {
  Erase();
  Write(stream, absl::StrCat(std::string(line), "\n"));
  Draw();
}

void Progress::Draw() const {
  if (style_ != ProgressStyle::kBar) return;
  const size_t filled = total_ == 0 ? kBarWidth : done_ * kBarWidth / total_;
  Write(err_, absl::StrCat("\r", what_, " [", std::string(filled, '#'), std::string(kBarWidth - filled, '.'), "] ",
                           done_, "/", total_));
}

void Progress::Erase() const {
  if (style_ == ProgressStyle::kBar) Write(err_, "\r\x1b[K");
}

}  // namespace vitower
