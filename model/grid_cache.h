#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <utility>

namespace vitower {

// Values by grid (h, w), the least recently used dropped when their bytes pass the capacity. A value that alone is
// larger is made each time and not kept. Not thread-safe.
template <typename Value>
class GridCache final {
 public:
  explicit GridCache(int64_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  int64_t bytes() const { return bytes_; }

  // `make(h, w)` returns a Value; `value_bytes` is what it will take.
  template <typename Make>
  Value Get(int64_t grid_h, int64_t grid_w, int64_t value_bytes, const Make& make) {
    const Key key{grid_h, grid_w};
    if (const auto found = places_.find(key); found != places_.end()) {
      entries_.splice(entries_.begin(), entries_, found->second);
      return found->second->value;
    }
    Value value = make(grid_h, grid_w);
    if (value_bytes > capacity_bytes_) return value;
    while (bytes_ + value_bytes > capacity_bytes_) DropLast();
    entries_.push_front({key, value, value_bytes});
    places_[key] = entries_.begin();
    bytes_ += value_bytes;
    return value;
  }

 private:
  using Key = std::pair<int64_t, int64_t>;
  struct Entry {
    Key key;
    Value value;
    int64_t bytes;
  };

  void DropLast() {
    bytes_ -= entries_.back().bytes;
    places_.erase(entries_.back().key);
    entries_.pop_back();
  }

  const int64_t capacity_bytes_;
  int64_t bytes_ = 0;
  std::list<Entry> entries_;  // most recently used first
  std::map<Key, typename std::list<Entry>::iterator> places_;
};

}  // namespace vitower
