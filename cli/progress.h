#pragma once

#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>

namespace vitower {

enum class ProgressStyle {
  kBar,    // one line drawn anew; for a terminal
  kLines,  // a line every tenth of the way; for a log
  kQuiet,  // nothing, and no result lines either
};

// kQuiet when asked for, else by whether `stream` is a terminal.
ProgressStyle ChooseProgressStyle(bool quiet, std::FILE* stream);

// How far a run over many files has come. Also prints the run's other lines, so that they do not run into the bar.
// Not thread-safe. The streams must outlive it.
class Progress final {
 public:
  Progress(std::string what, size_t total, ProgressStyle style, std::FILE* out = stdout, std::FILE* err = stderr);
  ~Progress();  // takes the bar away
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Advance();
  void Result(std::string_view line);   // to out, unless quiet
  void Problem(std::string_view line);  // to err, always

 private:
  void Print(std::FILE* stream, std::string_view line);
  void Draw() const;
  void Erase() const;

  const std::string what_;
  const size_t total_;
  const ProgressStyle style_;
  std::FILE* const out_;
  std::FILE* const err_;
  size_t done_ = 0;
};

}  // namespace vitower
