// private header
#pragma once

#include <exception>
#include <new>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vitower {

// Calls `body`, which returns a Status or a StatusOr, and makes a status that names `subject` of any exception that
// leaves it: RESOURCE_EXHAUSTED where memory ran out, else INTERNAL.
template <typename Body>
auto Guarded(const std::string& subject, const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(subject, ": out of memory"));
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat(subject, ": ", e.what()));
  }
}

}  // namespace vitower
