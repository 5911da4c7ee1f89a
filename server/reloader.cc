#include "server/reloader.h"

#include <chrono>
#include <utility>

#include "server/log.h"
#include "server/text.h"

namespace vitower {

Reloader::Reloader(std::vector<File> files, Metrics& metrics) : metrics_(metrics) {
  for (File& file : files) files_.push_back({std::move(file), {}, false});
  thread_ = std::jthread([this] { Run(); });
}

Reloader::~Reloader() {
  {
    MutexLock lock(mu_);
    stop_ = true;
  }
  stopped_.NotifyAll();
}

void Reloader::Run() {
  constexpr std::chrono::seconds kInterval{1};
  while (true) {
    for (Watched& watched : files_) Look(watched);
    const auto next = std::chrono::steady_clock::now() + kInterval;
    MutexLock lock(mu_);
    while (!stop_ && std::chrono::steady_clock::now() < next) stopped_.WaitUntil(mu_, next);
    if (stop_) return;
  }
}

void Reloader::Look(Watched& watched) {
  const absl::StatusOr<bool> changed = watched.file.reload();
  if (changed.ok()) {
    watched.trouble.clear();
    watched.told = false;
    if (!*changed) return;
    metrics_.CountReload(watched.file.label, /*used=*/true);
    return Log(LogLevel::kInfo, Cat(watched.file.label, ": the files have changed and are in use"));
  }
  std::string trouble(changed.status().message());
  if (trouble != watched.trouble) {
    watched.trouble = std::move(trouble);
    watched.told = false;
  } else if (!watched.told) {
    watched.told = true;
    metrics_.CountReload(watched.file.label, /*used=*/false);
    Log(LogLevel::kError, Cat(watched.trouble, ". What was read before stays in use"));
  }
}

}  // namespace vitower
