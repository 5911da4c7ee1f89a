// private header
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "server/clock.h"
#include "server/drain_rate.h"

namespace vitower {

// A limited amount that calls hold, refused at once where there is not enough. Two rules keep calls of every size
// going:
//
// - The last eighth is for calls of at most a sixteenth of all; a larger one gets into it only where nothing is held.
//   So large calls cannot keep small ones out.
// - Who is refused has a claim for twice as long as it was told to wait, a larger one in place of a smaller. Meanwhile
//   smaller calls are let in only beside what is claimed. So small calls cannot slip past a large one for ever: it is
//   in after at most the time that what was held before it takes to leave, if it tries again when it was told to. After
//   a claim there is none for as long again, so that claims of calls that never come back cost at most half of the
//   time.
//
// Not thread-safe.
class Room final {
 public:
  explicit Room(int64_t limit) : limit_(limit) {}

  int64_t limit() const { return limit_; }
  int64_t held() const { return held_; }

  // What is kept from a call of this size for the holder of the claim.
  int64_t ClaimedFrom(int64_t need, TimePoint now) const {
    return now < claim_until_ && need < claim_ ? claim_ + SpareOf(claim_) : 0;
  }
  bool Fits(int64_t need, TimePoint now) const {
    return need == 0 || held_ + need + ClaimedFrom(need, now) <= LimitFor(need);
  }

  void Enter(int64_t need, TimePoint now) {
    held_ += need;
    if (now < claim_until_ && need >= claim_) claim_until_ = now;
  }
  void Leave(int64_t amount, TimePoint now) {
    held_ -= amount;
    left_.Add(amount, now);
  }
  void Correct(int64_t change) { held_ += change; }

  // A call of this size is refused: how long until what is too much has left, at the rate of the last second. Takes the
  // claim where it may.
  std::chrono::milliseconds Refuse(int64_t need, TimePoint now) {
    const std::chrono::milliseconds wait = WaitFor(need, now);
    const bool open = now < claim_until_ ? need > claim_ : now >= no_claim_before_;
    if (open) {
      claim_ = need;
      claim_until_ = now + 2 * wait;
      no_claim_before_ = claim_until_ + 2 * wait;
    }
    return wait;
  }

 private:
  static constexpr double kShortestMs = 20;
  static constexpr double kUnknownMs = 200;  // nothing has left for a second: about one CPU batch
  static constexpr double kLongestMs = 10'000;

  int64_t SpareOf(int64_t need) const { return need > limit_ / 16 ? limit_ / 8 : 0; }
  int64_t LimitFor(int64_t need) const { return held_ > 0 ? limit_ - SpareOf(need) : limit_; }

  std::chrono::milliseconds WaitFor(int64_t need, TimePoint now) {
    const double rate = left_.PerSecond(now);
    const int64_t excess = held_ + need + ClaimedFrom(need, now) - LimitFor(need);
    const double ms = rate > 0 ? 1000 * static_cast<double>(std::max<int64_t>(excess, 1)) / rate : kUnknownMs;
    return std::chrono::milliseconds(static_cast<int64_t>(std::clamp(ms, kShortestMs, kLongestMs)));
  }

  const int64_t limit_;
  int64_t held_ = 0;
  DrainRate left_;
  int64_t claim_ = 0;
  TimePoint claim_until_;
  TimePoint no_claim_before_;
};

}  // namespace vitower
