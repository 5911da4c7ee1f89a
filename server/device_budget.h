#pragma once

#include <algorithm>
#include <cstdint>

namespace vitower {

// How many patches a device takes in one pass: what was asked for, until it runs out of memory. Then half of what it
// had none for, at least a sixteenth of all, and after every 16 passes that went well an eighth of all more. Not
// thread-safe.
class DeviceBudget final {
 public:
  explicit DeviceBudget(int64_t full_patches) : full_(full_patches), now_(full_patches) {}

  int64_t patches() const { return now_; }

  // There was no memory for a pass of so many patches. One beyond the budget, as an item alone may be, says nothing of
  // others.
  void Shrink(int64_t patches) {
    if (patches > now_) return;
    now_ = std::min(now_, std::max(patches / 2, Part(16)));
    good_passes_ = 0;
  }

  void PassWentWell() {
    constexpr int kPassesToGrow = 16;
    if (now_ == full_ || ++good_passes_ % kPassesToGrow != 0) return;
    now_ = std::min(full_, now_ + Part(8));
  }

 private:
  int64_t Part(int64_t divisor) const { return std::max<int64_t>(full_ / divisor, 1); }

  const int64_t full_;
  int64_t now_;
  int good_passes_ = 0;
};

}  // namespace vitower
