#pragma once

#include <cstddef>

namespace vitower {

// While it lives, operator new fails for `bytes` and more, on every thread of the process. For programs that
// link vitower_failing_new, which replaces operator new.
class FailingNew final {
 public:
  explicit FailingNew(size_t bytes);
  ~FailingNew();
  FailingNew(const FailingNew&) = delete;
  FailingNew& operator=(const FailingNew&) = delete;
};

}  // namespace vitower
