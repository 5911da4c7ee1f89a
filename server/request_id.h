#pragma once

#include <string>
#include <string_view>

namespace vitower {

// `wanted` where it is fit for logs and metadata: 1 to 128 letters, digits and ._:/+=@-. Else a new one, 16 hex digits.
std::string RequestId(std::string_view wanted);

}  // namespace vitower
