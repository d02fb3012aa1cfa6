import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  // While one writes: the page from Vite, sessions from server.ts beside it.
  server: { proxy: { "/session": "http://127.0.0.1:3000" } },
});
