#include "specbranch/llama/runtime/backend.h"

#include <atomic>
#include <deque>
#include <mutex>
#include <utility>

#include "llama.h"
#include "specbranch/llama/runtime/system.h"

namespace specbranch::llama {
namespace {

constexpr std::size_t kMaxLines = 1024;
constexpr std::size_t kMaxLineBytes = 4096;

struct LogBuffer {
  std::mutex mutex;
  std::deque<LogLine> lines;
  std::size_t n_lost = 0;
  std::atomic<LogLevel> level{LogLevel::kInfo};
};

// Never destroyed: a backend's own thread may log while the process exits.
LogBuffer& log_buffer() {
  static auto* const buffer = new LogBuffer;
  return *buffer;
}

ErrorCapture*& current_capture() {
  static thread_local ErrorCapture* capture = nullptr;
  return capture;
}

bool& is_quiet() {
  static thread_local bool quiet = false;
  return quiet;
}

struct PartialLine {
  LogLevel level = LogLevel::kInfo;
  std::string text;
};

// llama.cpp logs a line in pieces; threads must not mix theirs.
PartialLine& partial_line() {
  static thread_local PartialLine line;
  return line;
}

void finish_line(PartialLine& line) {
  if (line.text.empty()) return;
  ErrorCapture* capture = current_capture();
  if (line.level == LogLevel::kError && capture != nullptr) {
    capture->add(line.text);
    if (capture->expected()) line.level = LogLevel::kDebug;
  }
  if (is_quiet()) line.level = LogLevel::kDebug;
  LogBuffer& buffer = log_buffer();
  if (line.level >= buffer.level.load(std::memory_order_relaxed)) {
    const std::lock_guard lock(buffer.mutex);
    if (buffer.lines.size() == kMaxLines) {
      buffer.lines.pop_front();
      ++buffer.n_lost;
    }
    buffer.lines.push_back({line.level, std::move(line.text)});
  }
  line.text.clear();
}

void log_sink(ggml_log_level level, const char* text, void* /*user*/) noexcept {
  if (text == nullptr) return;
  try {
    PartialLine& line = partial_line();
    if (level != GGML_LOG_LEVEL_CONT) {
      finish_line(line);
      line.level = level == GGML_LOG_LEVEL_ERROR  ? LogLevel::kError
                   : level == GGML_LOG_LEVEL_WARN ? LogLevel::kWarning
                   : level == GGML_LOG_LEVEL_INFO ? LogLevel::kInfo
                                                  : LogLevel::kDebug;
    }
    for (; *text != '\0'; ++text) {
      if (*text == '\n') {
        finish_line(line);
      } else if (line.text.size() < kMaxLineBytes) {
        line.text.push_back(*text);
      }
    }
  } catch (...) {
    // A line that does not fit into memory is lost; llama.cpp is C code here.
  }
}

}  // namespace

void init_backend() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Once, before the first worker starts.
    set_environment_default("GGML_NO_BACKTRACE", "1");
    install_log_sink();
    llama_backend_init();
  });
  install_log_sink();
}

void install_log_sink() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  ggml_log_callback llama_callback = nullptr;
  ggml_log_callback ggml_callback = nullptr;
  void* user = nullptr;
  llama_log_get(&llama_callback, &user);
  ggml_log_get(&ggml_callback, &user);
  if (llama_callback != log_sink) llama_log_set(log_sink, nullptr);
  if (ggml_callback != log_sink) ggml_log_set(log_sink, nullptr);
}

std::vector<LogLine> drain_log_lines() {
  LogBuffer& buffer = log_buffer();
  std::deque<LogLine> lines;
  std::size_t n_lost = 0;
  {
    const std::lock_guard lock(buffer.mutex);
    lines.swap(buffer.lines);
    n_lost = std::exchange(buffer.n_lost, 0);
  }
  std::vector<LogLine> taken;
  taken.reserve(lines.size() + 1);
  if (n_lost > 0) {
    taken.push_back({LogLevel::kWarning, std::to_string(n_lost) + " earlier log lines were lost"});
  }
  for (LogLine& line : lines) taken.push_back(std::move(line));
  return taken;
}

void set_log_level(LogLevel level) { log_buffer().level.store(level, std::memory_order_relaxed); }

ErrorCapture::ErrorCapture(const std::atomic<bool>* expected)
    : expected_(expected), outer_(std::exchange(current_capture(), this)) {}

ErrorCapture::~ErrorCapture() { current_capture() = outer_; }

std::string ErrorCapture::reason(const std::string& otherwise) const {
  return first_.empty() ? otherwise : first_;
}

void ErrorCapture::add(const std::string& line) {
  if (first_.empty()) first_ = line;
}

QuietLog::QuietLog() : outer_(std::exchange(is_quiet(), true)) {}

QuietLog::~QuietLog() { is_quiet() = outer_; }

}  // namespace specbranch::llama
