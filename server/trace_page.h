// private header
#pragma once

#include <string>
#include <string_view>

#include "server/http_page.h"
#include "server/tracer.h"

namespace vitower {

// Records for the seconds that `query` names ("seconds=5", 1 to 60), writes a file into the folder and answers with its
// path. Blocks for so long. Refused with 409 while another records, and where the folder holds 32 traces.
HttpPage TracePage(std::string_view query, const std::string& folder, Tracer& tracer);

}  // namespace vitower
