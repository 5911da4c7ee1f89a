#include "server/devices.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

namespace vitower {

Devices::Devices(std::vector<std::string> devices, Batcher& batcher, std::function<void(bool)> on_change)
    : devices_(std::move(devices)), batcher_(batcher), on_change_(std::move(on_change)), up_(devices_.size(), true) {}

void Devices::Back(size_t index) {
  {
    MutexLock lock(mu_);
    up_[index] = true;
    batcher_.Open();
  }
  Tell();
}

Devices::Loss Devices::Lost(size_t index) {
  Loss loss;
  {
    MutexLock lock(mu_);
    up_[index] = false;
    loss.encoders_left = CountUp();
    loss.other_devices_left = CountOtherDevices(index);
    if (loss.encoders_left == 0) loss.orphans = batcher_.Close();
  }
  Tell();
  return loss;
}

bool Devices::AllWork() {
  MutexLock lock(mu_);
  return std::find(up_.begin(), up_.end(), false) == up_.end();
}

void Devices::Tell() {
  MutexLock telling(telling_);
  bool any = false;
  {
    MutexLock lock(mu_);
    any = CountUp() > 0;
  }
  on_change_(any);
}

int64_t Devices::CountUp() const { return std::count(up_.begin(), up_.end(), true); }

int64_t Devices::CountOtherDevices(size_t index) const {
  std::set<std::string_view> others;
  for (size_t i = 0; i < up_.size(); ++i) {
    if (up_[i] && devices_[i] != devices_[index]) others.insert(devices_[i]);
  }
  return static_cast<int64_t>(others.size());
}

}  // namespace vitower
