// private header
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "server/metrics.h"
#include "server/mutex.h"

namespace vitower {

// Looks every second, on a thread of its own, whether files have changed, and says in the log and the metrics what came
// of it. A file that cannot be used is told of once, when it was so twice in a row: the second of two files may not be
// in place yet. The destructor stops it.
class Reloader final {
 public:
  struct File {
    std::string_view label;                        // of the metric and the log
    std::function<absl::StatusOr<bool>()> reload;  // true where there was something new
  };

  // REQUIRES: what the files' functions use outlives this.
  Reloader(std::vector<File> files, Metrics& metrics);
  ~Reloader();

 private:
  struct Watched {
    File file;
    std::string trouble;  // why it could not be used last time
    bool told = false;
  };

  void Run();
  void Look(Watched& watched);

  Metrics& metrics_;
  std::vector<Watched> files_;  // of the thread

  Mutex mu_;
  CondVar stopped_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;

  std::jthread thread_;
};

}  // namespace vitower
