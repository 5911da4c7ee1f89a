#include "tests/support/failing_new.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

std::atomic<size_t> fail_from{SIZE_MAX};

void* Allocate(size_t bytes) {
  return bytes < fail_from.load(std::memory_order_relaxed) ? std::malloc(bytes > 0 ? bytes : 1) : nullptr;
}

}  // namespace

void* operator new(size_t bytes) {
  if (void* memory = Allocate(bytes)) return memory;
  throw std::bad_alloc();
}
void* operator new(size_t bytes, const std::nothrow_t& /*tag*/) noexcept { return Allocate(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t /*bytes*/) noexcept { std::free(memory); }

namespace vitower {

FailingNew::FailingNew(size_t bytes) { fail_from = bytes; }
FailingNew::~FailingNew() { fail_from = SIZE_MAX; }

}  // namespace vitower
